"""The scales that keys and values are rounded by: one a channel, from what the fp32 graph gives for texts.

They are constants of the graph. What is larger than all that was seen here is cut off later, so there is headroom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.engines import create_session
from edgepipe.bundle.layout import LOGITS_TO_KEEP, PAST, present_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.session import Session

# How much larger than the largest number that was seen one may be.
HEADROOM = 1.25
# A channel that was all but 0 has the range of so small a part of the largest one of its head.
_LEAST_PART = 0.01
_STEPS = 127


@dataclass(frozen=True, slots=True)
class CacheScales:
    """What the keys and values of each layer are rounded by.

    Attributes:
        scales: float32[kv_heads, head_dim] by the name of the cache's input.
        texts: How many texts they are from.
        tokens: How many tokens the longest of them has.
    """

    scales: Mapping[str, NDArray[np.float32]]
    texts: int
    tokens: int

    def describe(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {
            "dtype": "int8",
            "scales": "one a channel",
            "headroom": HEADROOM,
            "texts": self.texts,
            "longest_text": self.tokens,
        }


def measure_scales(graph: Path, texts: Sequence[NDArray[np.int64]]) -> CacheScales:
    """Run the fp32 graph on texts.

    Args:
        graph: A decoder's, with a cache.
        texts: Their tokens, int64[length] each.
    """
    session = create_session(graph)
    names = [name for name in session.inputs if name.startswith(PAST)]
    maxima: dict[str, NDArray[np.float32]] = {}
    for ids in texts:
        outputs = session.run(_feed(session, ids))
        for name in names:
            maximum = np.abs(outputs[present_name(name)]).max(axis=(0, 2))
            maxima[name] = np.maximum(maxima[name], maximum) if name in maxima else maximum
    session.close()
    scales = {name: _scale(maximum) for name, maximum in maxima.items()}
    return CacheScales(scales, len(texts), max(map(len, texts)))


def _feed(session: Session, ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """A text without a past."""
    rows = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(len(ids))}
    feeds: dict[str, NDArray[Any]] = {name: rows[name][None] for name in session.inputs if name in rows}
    for name, shape in session.input_shapes.items():
        if name.startswith(PAST):
            feeds[name] = np.zeros((1, shape[1], 0, shape[3]), session.inputs[name])  # type: ignore[arg-type]
    if LOGITS_TO_KEEP in session.optional_inputs:
        feeds[LOGITS_TO_KEEP] = np.array(1)
    return feeds


def _scale(maximum: NDArray[np.float32]) -> NDArray[np.float32]:
    """From the largest magnitude of every channel, float32[kv_heads, head_dim]; likewise."""
    least = np.maximum(_LEAST_PART * maximum.max(axis=-1, keepdims=True), np.finfo(np.float32).tiny * _STEPS)
    scale: NDArray[np.float32] = (HEADROOM * np.maximum(maximum, least) / _STEPS).astype(np.float32)
    return scale
