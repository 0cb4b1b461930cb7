"""Which inputs variants are measured on, and which others recipes are calibrated with.

What was fitted to some inputs suits these better than any others, so figures on them flatter it. The inputs are split
once an export, and every variant is measured on the same ones, also what needs no calibration: else the figures could
not be put side by side. Where there are too few, all of them serve for both, and whoever reads the figures is told.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from edgepipe_export.calibration.dataset import Calibration
from edgepipe_export.evaluation.tolerance import Tolerance

# How many inputs recipes are calibrated with: ranges hardly grow with more, and with much fewer GPTQ fits just these.
CALIBRATED, _FEWEST = 64, 32

# Of how many inputs one may be calibrated with: figures need more of them than ranges do.
_OF = 3


@dataclass(frozen=True, slots=True)
class Split:
    """The two sides.

    Attributes:
        data: All inputs.
        calibrated: What recipes are calibrated with, and layers' costs measured on; no inputs where nothing is.
        measured: What variants are measured on.
        seen: How many of the inputs of `measured` are among those of `calibrated`: none, or all of these.
    """

    data: Calibration
    calibrated: Calibration
    measured: Calibration
    seen: int

    def described(self) -> dict[str, Any]:
        """What the manifest's recipes say of the calibration: how many inputs, and of which data."""
        inputs = len(self.calibrated.inputs)
        return {"inputs": inputs, "data_sha256": self.data.digest} if inputs else {}

    @property
    def warning(self) -> str | None:
        """What whoever reads the figures should know; None where nothing measured was calibrated with."""
        if not self.seen:
            return None
        return (
            f"of {len(self.measured.inputs)} inputs, too few to spare any, variants are measured on all, also on the "
            f"{self.seen} that they are calibrated with; some {_fewest(self.data)} different ones would do"
        )


def enough(data: Calibration) -> int:
    """How many inputs must be left to measure on: of fewer, one decision would be more than the gate's own bound.

    That is 0.5 points where the right answers are known, and 1 % where they are not.
    """
    bounds = Tolerance()
    return math.ceil(100 / (bounds.agreement if data.gold is None else bounds.figure))


def split(data: Calibration) -> Split:
    """Split inputs: 64 to calibrate with, but at most a third, and the others to measure on, if those are enough.

    The 64 are drawn from all over the data, as files are often sorted, one from each of 64 stretches of equal length;
    the same ones every time. Others with the same text, or about the same context, are on neither side.

    Args:
        data: The inputs.

    Returns:
        Inputs that are on both sides where too few would be left to measure on, or be there to calibrate with.
    """
    size = data.together
    units = [range(start, start + size) for start in range(0, len(data.inputs), size)]
    texts = {unit: frozenset(_text_of(data.inputs[index]) for index in unit) for unit in units}
    different = {own: unit for unit, own in reversed(texts.items())}
    most = CALIBRATED // size
    chosen = _drawn(sorted(different.values(), key=lambda unit: unit.start), min(most, len(different) // _OF))
    known = frozenset[Hashable]().union(*(texts[unit] for unit in chosen))
    left = [unit for unit in units if not known & texts[unit]]
    if len(left) >= enough(data) and size * len(chosen) >= _FEWEST:
        return Split(data, data.only(chain(*chosen)), data.only(chain(*left)), 0)
    chosen = _drawn(units, min(most, len(units)))
    return Split(data, data.only(chain(*chosen)), data, sum(map(len, chosen)))


def unsplit(data: Calibration) -> Split:
    """All inputs to measure on, for what is not calibrated."""
    return Split(data, data.only(()), data, 0)


def _fewest(data: Calibration) -> int:
    """How many inputs it takes to be split: a third of them calibrates, up to 64."""
    left = enough(data) * data.together
    return left + min(CALIBRATED, left // (_OF - 1))


def _text_of(item: Any) -> Hashable:
    """What an input may share with others: the longest of its texts, as a question's context is."""
    text: Hashable = max(item.values(), key=len) if isinstance(item, Mapping) else item
    return text


def _drawn(units: Sequence[range], count: int) -> list[range]:
    """One of each of `count` stretches, anywhere in it: data can have a rhythm."""
    places = np.random.default_rng(0).random(count)
    ends = [number * len(units) // max(count, 1) for number in range(count + 1)]
    stretches = zip(ends[:-1], ends[1:], places, strict=True)
    return [units[start + int(place * (end - start))] for start, end, place in stretches]
