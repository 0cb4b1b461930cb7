"""Which of the measured variants is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgepipe.errors import InputError
from edgepipe_export.quantization.quantize import RECIPES, load_recipe
from edgepipe_export.quantization.recipe import CPU, FP32
from edgepipe_export.quantization.target import Target
from edgepipe_export.selection.latency import NOISY, Latency, are_alike

AUTO = "auto"
PREFERENCES = ("speed", "size", "quality")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant as it was measured.

    Attributes:
        dtype: Its dtype.
        bytes: Size of its files.
        latency_ms: Median milliseconds an input, at the lengths of the calibration data.
        latency_spread: The middle half of the rounds' latencies, from end to end, as a share of the median.
        distance: How far its outputs are from fp32's; 0 is the same.
        passed: Whether it passed the gate.
        figures: What the gate measured, by name.
    """

    dtype: str
    bytes: int
    latency_ms: float
    latency_spread: float
    distance: float
    passed: bool
    figures: Mapping[str, float]

    @property
    def latency(self) -> Latency:
        """Its latency and how sure that is."""
        return Latency(self.latency_ms, self.latency_spread)


def check_preference(prefer: str) -> None:
    """Check what the choice goes by.

    Raises:
        InputError: it is none of :data:`PREFERENCES`.
    """
    if prefer not in PREFERENCES:
        raise InputError(f"prefer must be one of {', '.join(PREFERENCES)}, got {prefer!r}")


def list_candidates(target: Target, *, generates: bool) -> tuple[str, ...]:
    """The dtypes to try for a processor: fp32, and those whose recipes are for it first of all and that it computes."""
    suitable = (
        recipe.dtype
        for recipe in map(load_recipe, RECIPES)
        if recipe.providers[0] == CPU and target.name in recipe.targets and not (generates and recipe.needs_batches)
        if generates or not recipe.for_prompts
        if target.computes(recipe.dtype)
    )
    return (FP32, *suitable)


def choose(candidates: Sequence[Candidate], prefer: str) -> Candidate:
    """The best of the candidates that passed; the same for the same measurements, in whatever order.

    Args:
        candidates: At least one of them passed.
        prefer: ``"speed"``: the fastest, and of those that the rounds do not tell from it the smallest. ``"size"``: the
            smallest, of equals the fastest. ``"quality"``: the nearest to fp32 that is quantized.
    """
    passed = _passing(candidates)
    if prefer == "size":
        return min(passed, key=lambda entry: (entry.bytes, entry.latency_ms))
    if prefer == "quality":
        return min(passed, key=lambda entry: (entry.dtype == FP32, entry.distance, entry.latency_ms))
    return min(_fastest(passed), key=lambda entry: (entry.bytes, entry.latency_ms))


def undecided(candidates: Sequence[Candidate], prefer: str) -> tuple[str, ...]:
    """Those that might be the fastest, where the rounds of one differed by more than 15 %: the smallest was taken.

    Returns:
        Two dtypes or more; none where the machine was quiet.
    """
    if prefer != "speed":
        return ()
    alike = _fastest(_passing(candidates))
    noisy = any(entry.latency_spread > NOISY for entry in alike)
    return tuple(entry.dtype for entry in alike) if noisy and len(alike) > 1 else ()


def _passing(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted((entry for entry in candidates if entry.passed), key=lambda entry: entry.dtype)


def _fastest(passed: Sequence[Candidate]) -> list[Candidate]:
    """The fastest, and those that the rounds do not tell from it."""
    fastest = min(passed, key=lambda entry: entry.latency_ms)
    return [entry for entry in passed if are_alike(fastest.latency, entry.latency)]


def tabulate(candidates: Sequence[Candidate], chosen: Candidate) -> tuple[dict[str, Any], ...]:
    """The candidates as the manifest has them, with those that no other beats in everything marked ``pareto``."""
    return tuple(
        asdict(entry) | {"chosen": entry.dtype == chosen.dtype, "pareto": not any(_beats(o, entry) for o in candidates)}
        for entry in candidates
    )


def _beats(one: Candidate, other: Candidate) -> bool:
    better, worse = ((entry.bytes, entry.latency_ms, entry.distance) for entry in (one, other))
    return better != worse and all(a <= b for a, b in zip(better, worse, strict=True))
