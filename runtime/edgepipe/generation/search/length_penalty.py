"""The length penalty of beam search (Wu et al. 2016, https://arxiv.org/abs/1609.08144), as transformers has it."""

from __future__ import annotations

from edgepipe.errors import InputError


def penalize_length(length: int, penalty: float) -> float:
    """What the score of a beam is divided by: ``length ** penalty``.

    Raises:
        InputError: it is beyond what a number can be, or 0.
    """
    try:
        found = float(length**penalty)
    except OverflowError:
        found = 0.0
    if found == 0.0:
        raise InputError(
            f"length_penalty={penalty:g} cannot be applied to {length} tokens: {length}^{penalty:g} is beyond what a "
            "number can be; pass one nearer to 0"
        )
    return found
