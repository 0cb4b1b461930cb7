"""Truncation by the Rust code of `tokenizers`, without its shared state.

`tokenizers.Tokenizer` keeps truncation as a setting of the object: set per call, as transformers does, threads
change it under each other's feet. Here each combination of settings has an object of its own, made once. The
objects share one model, so a vocabulary of any size is held once.
"""

import json
from collections.abc import Sequence
from typing import Any

import tokenizers
from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from edgepipe.errors import DependencyError, InputError
from edgepipe.forks import RenewedLock

# The releases that give one of many windows of a long text, and cut some pairs elsewhere; pyproject.toml excludes them.
FAULTY_RELEASES = ("0.23.1", "0.23.2")

_MOST_VARIANTS = 16

# Pairs of more characters than so many times the tokens that they are cut to are cut here; see `Truncators.cut_pair`.
_LONG = 16


def require_faultless_release(version: str = tokenizers.__version__) -> None:
    """Refuse a release of tokenizers that cuts texts wrongly, for answers would be missing without a word.

    Raises:
        DependencyError: it is one.
    """
    if version in FAULTY_RELEASES:
        raise DependencyError(
            f"tokenizers {version} cuts long texts wrongly; pip install 'tokenizers!={version}', e.g. 0.22.2 or 0.23.3"
        )


class Truncators:
    """The truncating variants of one tokenizer, the most recently used of them kept."""

    def __init__(self, base: RustTokenizer, side: str) -> None:
        """Truncate as `base` would, on `side` ("right" or "left"); `base` itself is never changed."""
        self._base = base
        self._side = side
        self._special = (base.num_special_tokens_to_add(False), base.num_special_tokens_to_add(True))
        self._variants: dict[tuple[str, int, int], RustTokenizer] = {}
        self._bare: RustTokenizer | None = None
        self._lock = RenewedLock()

    def get(self, strategy: str, max_length: int, stride: int) -> RustTokenizer:
        """The variant that cuts to `max_length` tokens.

        Raises:
            InputError: `stride` leaves no room for new tokens in a piece.
        """
        key = (strategy, max_length, stride)
        with self._lock:
            tokenizer = self._variants.pop(key, None)
            if tokenizer is None:
                tokenizer = share_model(self._base)
                try:
                    tokenizer.enable_truncation(max_length, stride=stride, strategy=strategy, direction=self._side)
                except ValueError as error:
                    raise InputError(
                        f"stride={stride} is too large for max_length={max_length}: together with "
                        f"{self._special[False]} special tokens it leaves no room; "
                        "pass a smaller stride or a larger max_length."
                    ) from error
                if len(self._variants) >= _MOST_VARIANTS:
                    del self._variants[next(iter(self._variants))]
            self._variants[key] = tokenizer  # last, so that the first is the least recently used
            return tokenizer

    def check_room(
        self,
        items: Sequence[Any],
        *,
        strategy: str,
        max_length: int,
        stride: int,
        add_special_tokens: bool,
        is_pretokenized: bool,
    ) -> None:
        """Refuse what would truncate wrongly or make the Rust code panic.

        `max_length` counts special tokens; `items` are texts and pairs, as `tokenizers` takes them.

        Raises:
            InputError: `max_length` is less than the special tokens take, or a pair's piece is no longer than
                `stride`.
        """
        paired = [is_pair(item, is_pretokenized) for item in items]
        special = [count if add_special_tokens else 0 for count in self._special]
        if max_length < (least := special[any(paired)]):
            raise InputError(
                f"max_length={max_length} is too small: the special tokens alone take {least}; pass at least "
                f"{least + 1}, or add_special_tokens=False."
            )
        if not stride:
            return
        for item, pair in zip(items, paired, strict=True):
            room = max_length - special[pair]
            # A cut text keeps all the room when it is alone, and at least half of it by longest_first.
            if stride < (room if not pair else room // 2 if strategy == "longest_first" else 0):
                continue
            try:
                parts = self._base.encode_batch(
                    list(item) if pair else [item], is_pretokenized=is_pretokenized, add_special_tokens=False
                )
            except TypeError:  # no valid Unicode: the encoding that follows says what is wrong, and where
                return
            sizes = [len(part.ids) for part in parts]
            left = min((length for length in _cut_lengths(strategy, sizes, room) if length > 0), default=None)
            if left is not None and left <= stride:
                raise InputError(
                    f"stride={stride} is too large for max_length={max_length}: beside {special[pair]} special tokens "
                    f"a piece of this text ({' and '.join(map(str, sizes))} tokens) holds {left}; pass a smaller "
                    "stride or a larger max_length."
                )

    def cut_pair(
        self, pair: Sequence[Any], max_length: int, *, add_special_tokens: bool, is_pretokenized: bool
    ) -> Encoding:
        """Encode a pair and cut it by ``longest_first``, without the pieces that are cut off.

        `tokenizers` makes a row of each piece of the one text with each of the other: two texts of 100 kB become
        gigabytes, and where there is no memory left the process is ended.

        Returns:
            What `tokenizers` gives, but that ``overflowing`` says only whether something was cut off.
        """
        with self._lock:
            if self._bare is None:
                bare = share_model(self._base)
                bare.post_processor = None
                self._bare = bare
        parts = [self._bare.encode(text, is_pretokenized=is_pretokenized, add_special_tokens=False) for text in pair]
        room = max_length - (self._special[True] if add_special_tokens else 0)
        kept = _keep_lengths([len(part.ids) for part in parts], room)
        first, second = (
            _cut(part, length, index, self._side) for index, (part, length) in enumerate(zip(parts, kept, strict=True))
        )
        return self._base.post_process(first, second, add_special_tokens)


def is_long_pair(item: Any, max_length: int, is_pretokenized: bool) -> bool:
    """Whether `item` is two texts that are much longer than what they are cut to."""
    if not is_pair(item, is_pretokenized):
        return False
    characters = sum(sum(map(len, text)) + len(text) if is_pretokenized else len(text) for text in item)
    return characters > _LONG * max_length


def _cut(encoding: Encoding, length: int, type_id: int, side: str) -> Encoding:
    """The first or last tokens of a text that is not processed yet, as the first or second of a pair."""
    state = json.loads(encoding.__getstate__())
    size = len(state["ids"])
    kept = slice(0, length) if side == "right" else slice(size - length, size)
    state = {name: value[kept] if isinstance(value, list) else value for name, value in state.items()}
    state["type_ids"] = [type_id] * length
    nothing: dict[str, Any] = {name: [] if isinstance(value, list) else {} for name, value in state.items()}
    state |= {"overflowing": [nothing] if length < size else [], "sequence_ranges": {}}
    found = Encoding()
    found.__setstate__(json.dumps(state).encode())
    return found


def is_pair(item: Any, is_pretokenized: bool) -> bool:
    """Whether `item` of a batch is two texts rather than one."""
    if is_pretokenized:
        return len(item) == 2 and not isinstance(item[0], str)
    return not isinstance(item, str)


def share_model(base: RustTokenizer) -> RustTokenizer:
    """A tokenizer of its own that encodes as `base` does and holds the same model, not a copy of it."""
    twin = RustTokenizer(base.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (value := getattr(base, part)) is not None:
            setattr(twin, part, value)
    added = base.get_added_tokens_decoder()
    twin.add_tokens([added[index] for index in sorted(added)])
    twin.encode_special_tokens = base.encode_special_tokens
    if _flags(twin) != _flags(base):
        # Ids with gaps cannot be had by adding tokens in turn: pay for a copy.
        twin = RustTokenizer.from_str(base.to_str())
        twin.encode_special_tokens = base.encode_special_tokens
    return twin


def _flags(tokenizer: RustTokenizer) -> dict[int, str]:
    return {index: repr(token) for index, token in tokenizer.get_added_tokens_decoder().items()}


def _cut_lengths(strategy: str, sizes: Sequence[int], room: int) -> list[int]:
    """Lengths that the texts which are cut are cut to, by the rules of `truncate_encodings` in tokenizers."""
    if sum(sizes) <= room:
        return []
    if len(sizes) == 1:
        return [room]
    if strategy != "longest_first":
        other = sizes[1] if strategy == "only_first" else sizes[0]
        return [room - other]
    return [kept for kept, size in zip(_keep_lengths(sizes, room), sizes, strict=True) if kept < size]


def _keep_lengths(sizes: Sequence[int], room: int) -> list[int]:
    """How much of each text of a pair is kept by ``longest_first``, by the same rules."""
    if sum(sizes) <= room:
        return list(sizes)
    shorter = min(sizes)
    kept_shorter, kept_longer = shorter, shorter if shorter > room else max(shorter, room - shorter)
    if kept_shorter + kept_longer > room:
        kept_shorter = room // 2
        kept_longer = kept_shorter + room % 2
    return [kept_longer, kept_shorter] if sizes[0] > sizes[1] else [kept_shorter, kept_longer]
