"""How text is watermarked: the two configurations of transformers (5.24), checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from edgepipe.arguments import check_flag, check_whole, did_you_mean, is_number, is_whole
from edgepipe.errors import InputError

_LARGEST_TABLE = 2**24


@dataclass(frozen=True, slots=True)
class WatermarkingConfig:
    """A green list of tokens that become likelier, drawn anew for each token by those before it.

    Kirchenbauer et al., A Watermark for Large Language Models, arXiv:2301.10226.

    Attributes:
        greenlist_ratio: Which part of the vocabulary is green.
        bias: What is added to the scores of green tokens.
        hashing_key: The secret of the watermark.
        seeding_scheme: "lefthash": the list depends on the last token; "selfhash": on the token itself too.
        context_width: How many of the last tokens "selfhash" looks at, the new one included.
    """

    greenlist_ratio: float = 0.25
    bias: float = 2.0
    hashing_key: int = 15485863
    seeding_scheme: str = "lefthash"
    context_width: int = 1

    def __post_init__(self) -> None:
        if not is_number(self.greenlist_ratio) or not 0.0 < self.greenlist_ratio < 1.0:
            raise InputError(f"greenlist_ratio must be a number between 0 and 1, got {self.greenlist_ratio!r}")
        if not is_number(self.bias):
            raise InputError(f"bias must be a number, got {self.bias!r}")
        check_whole("hashing_key", self.hashing_key, 0)
        if self.seeding_scheme not in ("lefthash", "selfhash"):
            raise InputError(f"seeding_scheme must be 'lefthash' or 'selfhash', got {self.seeding_scheme!r}")
        check_whole("context_width", self.context_width, 1)


@dataclass(frozen=True, slots=True)
class SynthIDTextWatermarkingConfig:
    """A tournament between tokens, whose rounds are decided by keys.

    Dathathri et al., Scalable watermarking for identifying large language model outputs, Nature 634 (2024).

    Attributes:
        ngram_len: How many tokens decide together, the new one included.
        keys: The secrets of the watermark, one a round.
        context_history_size: How many contexts are remembered; one that occurs again is not watermarked.
        sampling_table_seed: Seed of the table of random bits.
        sampling_table_size: Its size.
        skip_first_ngram_calls: Whether the first tokens, before there are `ngram_len`, are not watermarked.
        debug_mode: Whether all tokens are equally likely before.
    """

    ngram_len: int
    keys: tuple[int, ...]
    context_history_size: int = 1024
    sampling_table_seed: int = 0
    sampling_table_size: int = 2**16
    skip_first_ngram_calls: bool = False
    debug_mode: bool = False

    def __post_init__(self) -> None:
        check_whole("ngram_len", self.ngram_len, 1)
        if not self.keys or not all(is_whole(key) for key in self.keys):
            raise InputError(f"keys must be a list of whole numbers, got {list(self.keys)!r:.60}")
        check_whole("context_history_size", self.context_history_size, 1)
        check_whole("sampling_table_seed", self.sampling_table_seed, 0)
        if check_whole("sampling_table_size", self.sampling_table_size, 1) > _LARGEST_TABLE:
            raise InputError(f"sampling_table_size must be at most {_LARGEST_TABLE}, got {self.sampling_table_size}")
        check_flag("skip_first_ngram_calls", self.skip_first_ngram_calls)
        check_flag("debug_mode", self.debug_mode)


Watermark = WatermarkingConfig | SynthIDTextWatermarkingConfig


def check_watermark(name: str, value: Any) -> Watermark:
    """A configuration of transformers, or a dict that says the same.

    Raises:
        InputError: it is something else, or has a value that it cannot have.
    """
    found = value.to_dict() if hasattr(value, "to_dict") else value
    if not isinstance(found, Mapping):
        raise InputError(f"{name} must be a WatermarkingConfig of transformers or a dict, got {value!r:.80}")
    kind = SynthIDTextWatermarkingConfig if {"ngram_len", "keys"} & set(found) else WatermarkingConfig
    names = [each.name for each in fields(kind)]
    for given in found:
        if given not in names:
            raise InputError(f"{name} has no entry {given!r}{did_you_mean(given, names)}")
    if kind is WatermarkingConfig:
        return WatermarkingConfig(**found)
    missing = [each for each in ("ngram_len", "keys") if each not in found]
    if missing:
        raise InputError(f"{name} has no {missing[0]!r}, which a watermark of SynthID needs")
    keys = found["keys"]
    if not isinstance(keys, (list, tuple)):
        raise InputError(f"keys must be a list of whole numbers, got {keys!r:.60}")
    return SynthIDTextWatermarkingConfig(**{**found, "keys": tuple(keys)})
