"""How much of its quality a quantized variant may lose."""

from __future__ import annotations

from dataclasses import dataclass

from edgepipe.errors import InputError


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Bounds, all in parts of a hundred.

    Attributes:
        figure: Points that the task's own figure may drop where the right answers are known.
        agreement: How many decisions of a hundred may be others where they are not.
        perplexity: How much higher perplexity may be.
    """

    figure: float = 0.5
    agreement: float = 1.0
    perplexity: float = 1.0


def tolerance(max_drop: float | None) -> Tolerance:
    """The bounds that the user asked for: one number for all of them, or the defaults for None.

    Raises:
        InputError: not a number from 0 to 100.
    """
    if max_drop is None:
        return Tolerance()
    if not isinstance(max_drop, (int, float)) or isinstance(max_drop, bool) or not 0 <= max_drop <= 100:
        raise InputError(f"max_drop must be from 0 to 100 points, got {max_drop!r}")
    return Tolerance(float(max_drop), float(max_drop), float(max_drop))
