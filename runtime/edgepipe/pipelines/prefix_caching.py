"""Prompts that begin alike compute their beginning once: prefixes that are asked for, and those that a list shows.

Token ids are compared, never texts: the last token of a prefix may be another one where text follows it. A prompt uses
what its ids have in common with what is held, and computes one token at least, whose scores are needed.

What a decoder holds, and how, is in :mod:`edgepipe.models.decoder.prefix_tree`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.arguments import check_whole
from edgepipe.errors import InputError, LengthError, OutOfMemoryError
from edgepipe.forks import RenewedLock
from edgepipe.generation.search.step_independence import reads_in_parts
from edgepipe.numerics import count_shared
from edgepipe.pipelines.base import Request

if TYPE_CHECKING:
    from edgepipe.models.decoder.decoding import GraphDecoder

# The most that prefixes take where nobody says more: 1 GiB.
MOST_BYTES = 1 << 30
# A list's prompts have a head in common that is worth holding from so many tokens on: it is computed by itself, which
# reads all weights once more.
_LEAST_HEAD = 32
# With how many of the prompts before it a prompt of a list is compared.
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """What :meth:`~edgepipe.pipelines.text_generation.TextGeneration.cache_prefix` holds.

    Attributes:
        tokens: How many tokens the prefix has.
        bytes: What their keys and values take. What other prefixes begin with, too, is held once.
    """

    tokens: int
    bytes: int


class PrefixCache:
    """The prefixes of one pipeline's decoder; for several threads at once."""

    def __init__(self, decoder: GraphDecoder) -> None:
        self._decoder = decoder
        self._lock = RenewedLock()
        self._reads_in_parts: bool | None = None
        self._lists = 0
        self._has_heads = False

    def add(self, ids: Sequence[int], most_bytes: int | None) -> CachedPrefix:
        """Compute a prefix and hold it.

        Args:
            ids: Its tokens.
            most_bytes: The most that all prefixes may take; None for 1 GiB.

        Raises:
            InputError: this variant cannot use one, or there is no room for it.
            LengthError: it is longer than the model takes.
            OutOfMemoryError: there is too little memory.
        """
        decoder, tree = self._decoder, self._decoder.prefixes
        if tree is None:
            raise InputError(
                f"{decoder.directory} with dtype={decoder.dtype!r} on {decoder.device} cannot use a cached prefix: "
                "that takes a decoder-only model that edgepipe exported, with a cache in the host's memory, whose rows "
                "do not depend on their padding; call it without cache_prefix, which gives the same"
            )
        if not self.reads_in_parts:
            raise InputError(
                f"dtype={decoder.dtype!r} gives other scores where a prompt is read in two parts, since it scales "
                "activations by all tokens that are read together, so a cached prefix would change texts; choose "
                'another variant (dtype="fp32", "w8" or "q4"), or call it without cache_prefix'
            )
        if not ids:
            raise InputError("the prefix has no tokens, so there is nothing to cache; pass some text")
        limit = decoder.max_length
        if limit is not None and len(ids) > limit:
            raise LengthError(
                f"the prefix has {len(ids)} tokens, more than the {limit} that the model takes; shorten it"
            )
        if not decoder.can_cache(len(ids)):
            raise LengthError(
                f"the prefix has {len(ids)} tokens, and behind {decoder.switch_length} tokens this model has other "
                "positions (rope type longrope), so that longer prompts cannot use what is cached; shorten it"
            )
        size = len(ids) * tree.token_bytes
        most_bytes = MOST_BYTES if most_bytes is None else most_bytes
        with self._lock:  # so that of two threads the second one sees what the first one left
            held = tree.count_bytes(pinned=True)
            fits = held + tree.count_new_bytes(ids) <= most_bytes
            try:
                fits = fits and decoder.cache_prefix(ids, most_bytes, pinned=True)
            except MemoryError as error:
                raise OutOfMemoryError(
                    f"there is no memory for the prefix: its {len(ids)} tokens take {size:,} bytes; shorten it, or "
                    "make room"
                ) from error
            if not fits:
                raise InputError(
                    f"the prefix has {len(ids)} tokens, which take {size:,} bytes, and other prefixes take {held:,} of "
                    f"prefix_cache_bytes={most_bytes:,}; pass a larger prefix_cache_bytes, shorten the prefix, or call "
                    "clear_prefixes()"
                )
        return CachedPrefix(len(ids), size)

    def clear(self) -> None:
        """Let all prefixes go."""
        if self._decoder.prefixes is not None:
            self._decoder.prefixes.clear()

    @property
    def reads_in_parts(self) -> bool:
        """Whether a prompt gives the same read in two parts: tried once, with a few prompts."""
        if self._reads_in_parts is None:
            self._reads_in_parts = reads_in_parts(self._decoder)
        return self._reads_in_parts

    @contextmanager
    def share_heads(self, most_bytes: int | None) -> Iterator[SharedHeads]:
        """What the prompts of one list have in common is held while the block runs.

        Args:
            most_bytes: The most that all prefixes may take; 0 for no heads. None for 1 GiB in fp32, and none in other
                variants, whose roundings may tip over with the last bits of a prompt that is read in two parts.
        """
        if most_bytes is None:
            most_bytes = MOST_BYTES if self._decoder.dtype == "fp32" else 0
        with self._lock:
            self._lists += 1
        try:
            yield SharedHeads(self, most_bytes)
        finally:
            with self._lock:
                self._lists -= 1
                if not self._lists and self._has_heads and self._decoder.prefixes is not None:
                    self._has_heads = False
                    self._decoder.prefixes.evict()

    def hold_head(self, ids: Sequence[int], most_bytes: int) -> None:
        """Hold what prompts have in common, if that is worth it and there is room."""
        tree = self._decoder.prefixes
        if tree is None or not self._decoder.can_cache(len(ids)) or not self.reads_in_parts:
            return
        held, _ = tree.match(np.asarray(ids))
        if len(ids) - held >= _LEAST_HEAD and len(ids) * tree.token_bytes <= most_bytes - tree.count_bytes(pinned=True):
            self._has_heads = True
            with suppress(MemoryError):  # then each prompt computes all
                self._decoder.cache_prefix(ids, most_bytes, pinned=False)


class SharedHeads:
    """What the prompts of one list have in common."""

    def __init__(self, cache: PrefixCache, most_bytes: int) -> None:
        self._cache, self._most = cache, most_bytes
        self._recent: deque[list[int]] = deque()
        self._sorted: list[list[int]] = []

    def hold(self, request: Request) -> Request:
        """Hold what a prompt that is about to be read has in common with one before it; returns the same request."""
        if not self._most:
            return request
        ids = request.pieces[0]["input_ids"]
        place = bisect_left(self._sorted, ids)
        # Of all lists the neighbours in their order have most in common.
        head = max((count_shared(ids, other) for other in self._sorted[max(0, place - 1) : place + 1]), default=0)
        self._sorted.insert(place, ids)
        self._recent.append(ids)
        if len(self._recent) > _REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        if head >= _LEAST_HEAD:
            self._cache.hold_head(ids[:head], self._most)
        return request


def check_prefix_cache_bytes(value: Any) -> int | None:
    """The option of that name; None where it is not given.

    Raises:
        InputError: it is no whole number of at least 0.
    """
    return None if value is None else check_whole("prefix_cache_bytes", value, 0)
