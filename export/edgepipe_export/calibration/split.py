"""Which inputs recipes are calibrated with, and which others variants are measured on.

What was fitted to some inputs suits these better than any others, so measurements on them flatter it. The inputs are
split once an export, and every variant is measured on the same ones, also what needs no calibration: otherwise the
measurements could not be compared. Too few inputs serve for both, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from edgepipe_export.calibration.dataset import Dataset

# How many inputs recipes are calibrated with: ranges hardly grow with more, and with much fewer GPTQ fits just these.
CALIBRATED, _FEWEST = 64, 32

# Of how many inputs one may be calibrated with: measurements need more of them than ranges do.
_OF = 3

# How many inputs latency is measured on.
_TYPICAL = 8

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset in two parts.

    Attributes:
        data: All inputs.
        calibrated: What recipes are calibrated with, and layers' costs measured on; no inputs where nothing is.
        measured: What variants are measured on.
        seen: How many of the inputs of `measured` are among those of `calibrated`: none, or all of these.
        wanted: How many different inputs it takes to be split.
    """

    data: Dataset
    calibrated: Dataset
    measured: Dataset
    seen: int
    wanted: int = 0

    def describe(self) -> dict[str, Any]:
        """What the manifest's recipes say of the calibration: how many inputs, and of which data."""
        inputs = len(self.calibrated.inputs)
        return {"inputs": inputs, "data_sha256": self.data.digest} if inputs else {}

    @property
    def warning(self) -> str | None:
        """What whoever reads the measurements should know; None where nothing measured was calibrated with."""
        if not self.seen:
            return None
        return (
            f"of {len(self.measured.inputs)} inputs, too few to spare any, variants are measured on all, also on the "
            f"{self.seen} that they are calibrated with; some {self.wanted} different ones would do"
        )


def split(data: Dataset, enough: int) -> Split:
    """Split inputs: 64 to calibrate with, but at most a third, and the others to measure on, if those are enough.

    The 64 are drawn from all over the data, as files are often sorted, one from each of 64 stretches of equal length;
    the same ones every time. Others with the same text, or about the same context, are in neither part.

    Args:
        data: The inputs.
        enough: How many must be left to measure on; see :func:`~.evaluation.tolerances.fewest_to_measure`.

    Returns:
        Inputs that are in both parts where too few would be left to measure on, or be there to calibrate with.
    """
    size = data.group_size
    units = _units(data)
    texts = {unit: frozenset(_longest_text(data.inputs[index]) for index in unit) for unit in units}
    different = {own: unit for unit, own in reversed(texts.items())}
    most = CALIBRATED // size
    chosen = _draw(sorted(different.values(), key=lambda unit: unit.start), min(most, len(different) // _OF))
    known = frozenset[Hashable]().union(*(texts[unit] for unit in chosen))
    left = [unit for unit in units if not known & texts[unit]]
    wanted = enough * size + min(CALIBRATED, enough * size // (_OF - 1))
    if len(left) >= enough and size * len(chosen) >= _FEWEST:
        return Split(data, data.select(chain(*chosen)), data.select(chain(*left)), 0, wanted)
    chosen = _draw(units, min(most, len(units)))
    return Split(data, data.select(chain(*chosen)), data, sum(map(len, chosen)), wanted)


def split_again(data: Dataset, enough: int, calibrated: Collection[str], measured: Collection[str]) -> Split:
    """The split of an earlier export: the same inputs are measured on once more, and none that was calibrated with.

    Args:
        data: The inputs.
        enough: See :func:`split`.
        calibrated: The digests of the data that its variants were calibrated with.
        measured: Those of the data that they were measured on.

    Returns:
        All inputs to measure on where these are other data.
    """
    orders = (data, shuffle(data))  # an export that chooses goes through them in another order
    known = next((each for each in orders if each.digest in calibrated), None)
    if known is not None:
        return split(known, enough)
    return measure_all(next((each for each in orders if each.digest in measured), data))


def measure_all(data: Dataset) -> Split:
    """All inputs to measure on, for what is not calibrated."""
    return Split(data, data.select(()), data, 0)


def shuffle(data: Dataset) -> Dataset:
    """The same inputs in another order, always the same: files are often sorted, and the first shall be like all."""
    units = _units(data)
    return data.select(chain(*(units[number] for number in np.random.default_rng(0).permutation(len(units)))))


def spread_by_length(items: Sequence[_Item], length: Callable[[_Item], int], count: int = _TYPICAL) -> list[_Item]:
    """At most `count` of the items, whose lengths are spread as all of theirs are."""
    ranked = sorted(items, key=length)
    count = min(count, len(ranked))
    return [ranked[(2 * number + 1) * len(ranked) // (2 * count)] for number in range(count)]


def _units(data: Dataset) -> list[range]:
    """Inputs that are not to be parted, by their places."""
    return [range(start, start + data.group_size) for start in range(0, len(data.inputs), data.group_size)]


def _longest_text(item: Any) -> Hashable:
    """What an input may share with others: the longest of its texts, as a question's context is."""
    text: Hashable = max(item.values(), key=len) if isinstance(item, Mapping) else item
    return text


def _draw(units: Sequence[range], count: int) -> list[range]:
    """One of each of `count` stretches, anywhere in it: data can have a rhythm."""
    places = np.random.default_rng(0).random(count)
    ends = [number * len(units) // max(count, 1) for number in range(count + 1)]
    stretches = zip(ends[:-1], ends[1:], places, strict=True)
    return [units[start + int(place * (end - start))] for start, end, place in stretches]
