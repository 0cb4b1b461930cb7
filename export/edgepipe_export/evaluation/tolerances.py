"""Every tolerance of the evaluation: of fp32 beside PyTorch, and of quantized variants beside fp32."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgepipe.arguments import is_number
from edgepipe.errors import InputError

# fp32 beside PyTorch: every element within ABSOLUTE + RELATIVE times the reference. Scores are within ABSOLUTE.
ABSOLUTE = 1e-4
RELATIVE = 1e-3

# Differences that shrink to nothing in floating point decide nothing.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a quantized variant may lose, all in parts of a hundred.

    Attributes:
        metric: Points that the task's metric may drop where the right answers are known.
        agreement: How many decisions of a hundred may be others where they are not.
        perplexity: How much higher perplexity may be.
    """

    metric: float = 0.5
    agreement: float = 1.0
    perplexity: float = 1.0

    @classmethod
    def from_max_drop(cls, max_drop: float | None) -> Tolerance:
        """The user's one number for all of them; the defaults for None.

        Raises:
            InputError: not a number from 0 to 100.
        """
        if max_drop is None:
            return cls()
        if not is_number(max_drop) or not 0 <= max_drop <= 100:
            raise InputError(f"max_drop must be from 0 to 100 points, got {max_drop!r}")
        return cls(float(max_drop), float(max_drop), float(max_drop))


def fewest_to_measure(*, gold: bool) -> int:
    """How many inputs the gate needs: of fewer, one decision would be more than its own default bound.

    Args:
        gold: Whether the right answers are known.
    """
    default = Tolerance()
    return math.ceil(100 / (default.metric if gold else default.agreement))
