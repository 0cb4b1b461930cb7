"""At which lengths a model begins to behave otherwise, read from its config: windows, chunks, and rotary positions.

A graph can be right up to such a length and wrong behind it. So comparisons go across each that is not too long. A name
that is not known here counts if it speaks of a window or a chunk: a crossing that is not needed costs only time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# The longest text that is compared across a length: attention takes the square of it in memory.
FARTHEST = 4096

# Names whose number is a length.
_LENGTH = re.compile(
    r"window|chunk|local_attention|local_radius|block_size|topk$|max_distance|max_relative_positions|position_buckets"
    r"|floor_scale|transformer_stride|^mem_len$|^reuse_len$"
)

# What matches, and is none: switches, patterns of layers, how a feed-forward network saves memory, experts of a token.
_NO_LENGTH = re.compile(r"^_|^use_|pattern|^max_window_layers$|^chunk_size_feed_forward$|^moe_topk$")

# Those of encoders, half of which lies on each side of a token.
_TWO_SIDED = ("attention_window", "local_attention")
# What is not of the text.
_OTHER_INPUTS = re.compile(r"vision|audio|image|video")

# Rope types whose positions depend on how long a text is.
_GROWING_ROPES = ("longrope", "su", "dynamic")


def find_length_changes(config: Mapping[str, Any]) -> dict[int, str]:
    """The lengths in tokens up to which a model behaves alike, in order, and what changes behind each.

    Args:
        config: The content of ``config.json``, with what is nested in it.
    """
    found: dict[int, str] = {}
    for length, what in _read(config, config):
        found.setdefault(length, what)
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Crossings:
    """Which of a model's lengths a comparison goes across.

    Attributes:
        crossed: The lengths, in order, and what changes behind each.
        beyond: The first length that texts can pass and no comparison does; None where there is none.
    """

    crossed: Mapping[int, str]
    beyond: int | None

    def __str__(self) -> str:
        names = ", ".join(f"{length} tokens ({what})" for length, what in self.crossed.items())
        said = [f"goes across {names}"] if names else []
        if self.beyond is not None:
            said.append(f"texts longer than {self.beyond} tokens are not compared")
        return "; ".join(said)


def plan_crossings(config: Mapping[str, Any], limit: int | None, farthest: int = FARTHEST) -> Crossings:
    """Choose the lengths to go across.

    Args:
        config: The content of ``config.json``.
        limit: The longest input that the model takes; None for no limit.
        farthest: The longest length that is crossed.
    """
    reached = {length: what for length, what in find_length_changes(config).items() if limit is None or length < limit}
    return Crossings(
        {length: what for length, what in reached.items() if length <= farthest},
        next((length for length in reached if length > farthest), None),
    )


def _read(config: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    yield from _read_rope(config, whole)
    for key, value in config.items():
        name = str(key)  # id2label has numbers
        if _OTHER_INPUTS.search(name):
            continue
        if isinstance(value, Mapping):
            yield from _read(value, {**whole, **config})
        elif _is_length(name, config):
            for length in _lengths(value):
                yield length, name
                if name in _TWO_SIDED or config.get("use_bidirectional_attention") is True:
                    yield max(length // 2, 1), f"half of {name}"
    if config.get("attention_type") == "block_sparse":  # BigBird's shorter texts have full attention
        blocks = 5 + 2 * int(config.get("num_random_blocks", 3))
        yield blocks * int(config.get("block_size", 64)), "attention_type"


def _read_rope(config: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    kind = config.get("rope_type", config.get("type"))
    grows = kind in _GROWING_ROPES or "llama_4_scaling_beta" in config
    if not grows:
        return
    for source in (whole, config):
        for length in _lengths(source.get("original_max_position_embeddings")):
            yield length, f"rope type {kind}"
    if kind == "dynamic" or not any("original_max_position_embeddings" in each for each in (whole, config)):
        for length in _lengths(whole.get("max_position_embeddings")):
            yield length, f"rope type {kind}"


def _is_length(name: str, config: Mapping[str, Any]) -> bool:
    if name == "sliding_window" and config.get("use_sliding_window") is False:
        return False
    return bool(_LENGTH.search(name)) and not _NO_LENGTH.search(name)


def _lengths(value: Any) -> Iterator[int]:
    values = value if isinstance(value, (list, tuple)) else [value]
    for each in values:
        if isinstance(each, int) and not isinstance(each, bool) and each > 0:
            yield each
