"""Keys and values of how prompts begin, kept for prompts that begin alike (prefix caching).

A radix tree over token ids, as in SGLang's RadixAttention (Zheng et al., SGLang: Efficient Execution of Structured
Language Model Programs, NeurIPS 2024, section 3): a node holds the keys and values of some tokens behind those of its
parent, so that what prompts have in common is held once. A prompt uses as many tokens as it has in common with a path,
also where that ends within a node: what a causal model keeps of a token does not depend on those behind it.

What is held is copied in and copied out, and never written again. So a search goes on with its own copy whatever
becomes of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from itertools import count

import numpy as np
from numpy.typing import NDArray

from edgepipe.forks import RenewedLock
from edgepipe.models.kv_buffers import KeyValues, LayerShapes
from edgepipe.models.kv_memory import count_token_bytes
from edgepipe.numerics import count_shared

# Reads the keys and values of so many tokens from one on: what :meth:`Cache.read` does.
Reader = Callable[[int, int], KeyValues]


class _Node:
    """Some tokens behind those of the parent.

    Attributes:
        ids: The tokens, int64[tokens].
        states: Their keys and values.
        children: What follows, by its first token.
        is_pinned: Whether it stays until everything goes.
        used: When it was used last.
    """

    def __init__(self, ids: NDArray[np.int64], states: KeyValues, *, is_pinned: bool) -> None:
        self.ids, self.states, self.is_pinned = ids, states, is_pinned
        self.children: dict[int, _Node] = {}
        self.used = 0


class PrefixTree:
    """The tree of one decoder; for several threads at once.

    Attributes:
        token_bytes: What one token takes.
    """

    def __init__(self, shapes: LayerShapes) -> None:
        """Begin without tokens, for a graph with these cache inputs."""
        self.token_bytes = count_token_bytes(shapes)
        # In a forked child, which has one thread, the tree is as another thread left it: each change of what is held is
        # one assignment.
        self._lock = RenewedLock()
        self._clock = count(1)
        self._root = _Node(np.empty(0, np.int64), [], is_pinned=True)

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._root.children)

    def count_bytes(self, *, pinned: bool = False) -> int:
        """What is held takes, in bytes; with `pinned` only what stays."""
        with self._lock:
            return self._count_tokens(pinned=pinned) * self.token_bytes

    def count_new_bytes(self, ids: Sequence[int]) -> int:
        """What a prefix would take beside all that stays."""
        with self._lock:
            path = self._find(np.asarray(ids))
            return (len(ids) - sum(shared for node, shared in path if node.is_pinned)) * self.token_bytes

    def match(self, ids: NDArray[np.int64]) -> tuple[int, list[KeyValues]]:
        """How many of some tokens, int64[tokens], are held from the first on, and their keys and values in parts.

        Nobody writes to these.
        """
        with self._lock:
            path = self._find(ids)
            for node, _ in path:
                node.used = next(self._clock)
            parts = [[array[:, :, :shared] for array in node.states] for node, shared in path]
            return sum(shared for _, shared in path), parts

    def insert(self, ids: Sequence[int], read: Reader, most_bytes: int, *, pinned: bool = False) -> int:
        """Hold a prefix, as much of it as there is room for; what was used longest ago goes for it.

        Args:
            ids: Its tokens.
            read: Gives keys and values of its tokens.
            most_bytes: The most that everything may take then. What stays does not go for it.
            pinned: Whether it stays until :meth:`clear`.

        Returns:
            How many of its tokens are held.
        """
        tokens = np.array(ids, np.int64)
        most = most_bytes // self.token_bytes
        with self._lock:
            path = self._find(tokens)
            for node, _ in path:
                node.used = next(self._clock)
            end = held = sum(shared for _, shared in path)
            if held < len(tokens):
                parent = self._cut(path)  # first, so that the part behind the cut may go
                self._evict(most - (len(tokens) - held), kept={id(parent), *(id(node) for node, _ in path)})
                end = min(len(tokens), held + max(0, most - self._count_tokens()))
            if end > held:
                leaf = _Node(tokens[held:end], read(held, end - held), is_pinned=False)
                leaf.used = next(self._clock)
                parent.children[int(leaf.ids[0])] = leaf
            if pinned and end == len(tokens):
                self._pin(tokens)
            return end

    def pin(self, ids: Sequence[int]) -> bool:
        """Have a prefix stay if all of it is held; says whether it is."""
        with self._lock:
            tokens = np.asarray(ids)
            is_held = sum(shared for _, shared in self._find(tokens)) == len(tokens)
            if is_held:
                self._pin(tokens)
            return is_held

    def evict(self, most_bytes: int = 0) -> None:
        """Let go what was used longest ago, until the rest takes no more than this; not what stays."""
        with self._lock:
            self._evict(most_bytes // self.token_bytes)

    def clear(self) -> None:
        """Let everything go."""
        with self._lock:
            self._root = _Node(np.empty(0, np.int64), [], is_pinned=True)

    def _find(self, ids: NDArray[np.int64]) -> list[tuple[_Node, int]]:
        """The nodes that begin as some tokens do, each with how many tokens of it these have."""
        path: list[tuple[_Node, int]] = []
        node, start = self._root, 0
        while start < len(ids):
            child = node.children.get(int(ids[start]))
            if child is None:
                break
            shared = count_shared(child.ids, ids[start:])
            path.append((child, shared))
            if shared < len(child.ids):
                break
            node, start = child, start + shared
        return path

    def _cut(self, path: list[tuple[_Node, int]]) -> _Node:
        """The node that ends where a path ends; one that goes on becomes two."""
        if not path:
            return self._root
        node, shared = path[-1]
        if shared == len(node.ids):
            return node
        parent = path[-2][0] if len(path) > 1 else self._root
        head, tail = _part(node, slice(0, shared)), _part(node, slice(shared, None))
        tail.children = node.children
        head.children = {int(tail.ids[0]): tail}
        parent.children[int(head.ids[0])] = head
        return head

    def _pin(self, ids: NDArray[np.int64]) -> None:
        path = self._find(ids)
        last = self._cut(path)
        for node, _ in path[:-1]:
            node.is_pinned = True
        last.is_pinned = True

    def _evict(self, most: int, kept: Set[int] = frozenset()) -> None:
        """Let leaves go until no more than so many tokens are held; not those with these ids of :func:`id`."""
        while self._count_tokens() > most:
            leaves = [
                (child.used, key, parent)
                for parent in self._nodes()
                for key, child in parent.children.items()
                if not child.children and not child.is_pinned and id(child) not in kept
            ]
            if not leaves:
                return
            _, key, parent = min(leaves, key=lambda leaf: leaf[0])
            del parent.children[key]

    def _nodes(self) -> Iterator[_Node]:
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            waiting += node.children.values()
            yield node

    def _count_tokens(self, *, pinned: bool = False) -> int:
        return sum(len(node.ids) for node in self._nodes() if node.is_pinned or not pinned)


def _part(node: _Node, tokens: slice) -> _Node:
    """Some tokens of a node; copies, because a view of a part would hold all."""
    states = [array[:, :, tokens].copy() for array in node.states]
    part = _Node(node.ids[tokens].copy(), states, is_pinned=node.is_pinned)
    part.used = node.used
    return part
