"""A few numbers that stand for an output, so that a change of any part of it changes them.

Outputs of up to :data:`LENGTH` numbers are kept whole. Of larger ones the rows are added up, each with a weight of its
own, and the columns of that sum are added up into :data:`LENGTH` buckets with signs: a count sketch (Charikar, Chen and
Farach-Colton, 2002) whose hashes are the places themselves, so that any program can compute it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import is_number, is_whole

LENGTH = 32

# Of how many rows the largest column is kept.
_DECISIONS = 8

# Rows have so many weights in turn.
_WEIGHTS = 7

# One of so many signs is a minus: with half of them a shift of all columns would add up to nothing.
_SIGNS = 3

# Digits of a number in the file.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is kept of one output.

    Attributes:
        shape: The output's shape.
        values: At most :data:`LENGTH` numbers, as large as the output's own.
        best: The column of the largest number of some rows, spread over all of them; empty unless they are logits.
        margins: How much larger it is than the second one, likewise.
        infinite: How many numbers are minus infinity, which a logit may be.
    """

    shape: tuple[int, ...]
    values: tuple[float, ...]
    best: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()
    infinite: int = 0

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it; what is empty is left out."""
        record = {
            "shape": list(self.shape),
            "values": list(self.values),
            "best": list(self.best),
            "margins": list(self.margins),
            "infinite": self.infinite,
        }
        return {name: value for name, value in record.items() if value or name in ("shape", "values")}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Sketch:
        """Read it.

        Raises:
            ValueError: it is no sketch.
        """
        shape, values, best, margins = (record.get(name, []) for name in ("shape", "values", "best", "margins"))
        whole = all(map(is_whole, [*shape, *best, record.get("infinite", 0)]))
        if not whole or not all(map(is_number, [*values, *margins])) or len(values) > LENGTH:
            raise ValueError(f"it has a sketch that is none: {record!r:.80}")
        if not len(best) == len(margins) <= _DECISIONS:
            raise ValueError(f"it has {len(best)} decisions with {len(margins)} margins")
        return cls(tuple(shape), tuple(values), tuple(best), tuple(margins), record.get("infinite", 0))


def sketch(array: NDArray[Any], *, logits: bool) -> Sketch:
    """Make the sketch of an output.

    Args:
        array: float[...], finite but for minus infinity in logits.
        logits: Whether the largest number of a row decides something.
    """
    rows = np.asarray(array, np.float64).reshape(-1, array.shape[-1] if array.ndim and array.shape[-1] else 1)
    barred = np.isneginf(rows)
    finite = np.where(barred, 0.0, rows)
    values = finite.ravel() if array.size <= LENGTH else _add_up(finite)
    best, margins = _decide(rows) if logits and rows.shape[1] > 1 else ((), ())
    return Sketch(tuple(array.shape), tuple(map(_round, values)), best, margins, int(barred.sum()))


def _add_up(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[:data:`LENGTH`], scaled so that independent errors of the numbers are errors of that size here."""
    count, columns = rows.shape
    weights = 1 + np.arange(count) % _WEIGHTS / _WEIGHTS
    places = np.arange(columns)
    signs = np.where(places // LENGTH % _SIGNS == 0, -1.0, 1.0)
    buckets = np.bincount(places % LENGTH, (weights @ rows) * signs, LENGTH)
    sizes = np.maximum(np.bincount(places % LENGTH, minlength=LENGTH), 1)
    scaled: NDArray[np.float64] = buckets / np.sqrt(sizes * (weights**2).sum())
    return scaled


def _decide(rows: NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _DECISIONS)).astype(int))]
    ranked = np.sort(chosen, axis=1)
    margins = np.where(np.isneginf(ranked[:, -2]), np.abs(ranked[:, -1]), ranked[:, -1] - ranked[:, -2])
    return tuple(map(int, chosen.argmax(axis=1))), tuple(map(_round, np.nan_to_num(margins)))


def _round(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
