"""What a comparison gives: checks, with their form in JSON and in the manifest; and what a comparison is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.manifest import Parity
from edgepipe_export.evaluation.metrics.confusion import Confusion, read_confusion
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from edgepipe import Bundle
    from edgepipe_export.evaluation.tolerances import Tolerance

# What reports call the checkpoint in PyTorch.
PYTORCH = "pytorch-fp32"

# The figure that says beyond which length nothing was compared, though the model behaves otherwise there.
NOT_COMPARED_BEYOND = "not_compared_beyond"

# The check of a variant whose keys and values are rounded beside itself with those in fp32.
CACHE_CHECK = "perplexity, 8-bit cache"

# How many of the largest disagreements are reported.
_WORST = 10


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An input whose two results are far apart.

    Attributes:
        input: The input, as JSON can hold it.
        reference: The reference's result.
        candidate: The variant's.
        difference: How far apart they are; more than 1 where they decide otherwise.
    """

    input: Any
    reference: Any
    candidate: Any
    difference: float


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a verification.

    Attributes:
        check: What was compared, e.g. ``"tensors, random ids"``.
        dtype: The variant.
        reference: What it was compared with.
        compared: How many batches or texts.
        differences: Largest absolute difference, by tensor name or ``"score"``.
        agreement: Share of texts with the same best label, 0 to 1; None where that has no meaning.
        bound: The bound that decides, in words.
        passed: Whether it held.
        detail: The first difference in words, where one was found; and across which lengths tensors were compared.
        figures: What else was measured, by name.
        worst: The inputs whose results are farthest apart, the worst first.
        confusion: What was decided otherwise; None where nothing is decided.
        stopped: Whether the time was over before the inputs decided.
        by_chance: Whether the figure misses the bound, but by the inputs it may as well be no loss at all: that passes.
    """

    check: str
    dtype: str
    reference: str
    compared: int
    differences: Mapping[str, float]
    agreement: float | None
    bound: str
    passed: bool
    detail: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    worst: tuple[Disagreement, ...] = ()
    confusion: Confusion | None = None
    stopped: bool = False
    by_chance: bool = False

    @property
    def max_difference(self) -> float | None:
        """The largest of the differences; None where none was measured."""
        return max(self.differences.values(), default=None)

    @property
    def deciding_figure(self) -> str:
        """The figure that the bound is about, and the bound, in words; all that was measured where it is another."""
        name = self.bound.partition(" at most ")[0]
        if self.bound == "finite":
            return "numbers that are not finite"
        if name in self.figures:
            found = f"{name} {self.figures[name]:.4g} against {self.figures[f'reference_{name}']:.4g}"
        elif "cosine_mean" in self.figures and self.agreement is not None:
            found = f"mean cosine {self.figures['cosine_mean']:.4g}, {100 * self.agreement:.1f} % recognized"
        elif self.agreement is not None:
            found = f"agreement {100 * self.agreement:.1f} %"
        else:
            return str(self)
        return f"{found} (bound: {self.bound})"

    def __str__(self) -> str:
        found = [f"{name} differs by up to {value:.2g}" for name, value in self.differences.items()]
        if self.agreement is not None:
            found.append(f"agreement {100 * self.agreement:.1f} %")
        found += [f"{name} {value:.4g}" for name, value in self.figures.items()]
        if self.detail is not None:
            found.append(self.detail)
        return f"{self.dtype} against {self.reference}, {self.check}: {'; '.join(found)} (bound: {self.bound})"


class Comparison(ABC):
    """What compares the variants of a bundle with PyTorch and with each other.

    Attributes:
        texts: The texts that fp32 is compared with PyTorch on.
    """

    texts: tuple[str, ...]

    def check(
        self,
        dtype: str,
        reference: str,
        tolerance: Tolerance,
        bundle: Bundle | None = None,
        deadline: float | None = None,
    ) -> list[Check]:
        """Compare a variant with a reference.

        Args:
            dtype: The variant. One that is fp32 must give what the reference gives.
            reference: :data:`PYTORCH`, or the fp32 variant.
            tolerance: What a quantized variant may lose.
            bundle: Where the variant is; by default the bundle that the comparison was made for.
            deadline: When to stop with a quantized variant, or before: see :func:`~.evaluation.gate.check_quantized`.
        """
        if dtype == FP32:
            return self.check_fp32(reference, bundle)
        return self.measure(dtype, reference, tolerance, bundle, deadline)

    @abstractmethod
    def check_fp32(self, reference: str, bundle: Bundle | None) -> list[Check]:
        """Compare the fp32 variant, which must give what the reference gives; see :meth:`check`."""

    @abstractmethod
    def measure(
        self,
        dtype: str,
        reference: str,
        tolerance: Tolerance,
        bundle: Bundle | None = None,
        deadline: float | None = None,
    ) -> list[Check]:
        """Measure a variant on the data as the gate does, fp32 too; see :meth:`check`."""

    @abstractmethod
    def count_steps(self, dtype: str) -> int:
        """How many steps a check of a variant counts."""

    @abstractmethod
    def timed_run(self, dtype: str, bundle: Bundle) -> Callable[[], int]:
        """What runs a variant on some inputs of typical lengths, one at a time; it returns how many."""

    @abstractmethod
    def distance(self, dtype: str, bundle: Bundle) -> float:
        """How far a variant's outputs are from fp32's on a few inputs; see :func:`.differences.distance`."""

    @abstractmethod
    def calibration_distance(self, dtype: str, bundle: Bundle) -> float:
        """The same on a few of the inputs that recipes are calibrated with: choosing layers is fitting too."""


def rank_worst(distances: Sequence[float]) -> list[int]:
    """The indices of the ten largest distances, the largest first, without those of 0 and less."""
    ranked = sorted(range(len(distances)), key=lambda index: (-distances[index], index))[:_WORST]
    return [index for index in ranked if distances[index] > 0]


def read_check(record: Mapping[str, Any]) -> Check:
    """A check from its JSON, where null stands for what is not finite."""
    differences = {name: number_or_infinity(value) for name, value in record["differences"].items()}
    worst = tuple(map(read_disagreement, record.get("worst", ())))
    confusion = None if record.get("confusion") is None else read_confusion(record["confusion"])
    return Check(**{**record, "differences": differences, "worst": worst, "confusion": confusion})


def read_disagreement(record: Mapping[str, Any]) -> Disagreement:
    """A disagreement from its JSON, likewise."""
    return Disagreement(**{**record, "difference": number_or_infinity(record["difference"])})


def number_or_infinity(value: float | None) -> float:
    """A number that was read from JSON, where null stands for what is not finite."""
    return math.inf if value is None else value


def describe_options(options: Mapping[str, Any]) -> str:
    """What reports call a pipeline's results under some options."""
    return "pipeline" + "".join(f", {name}={value}" for name, value in options.items())


def summarize(
    checks: Sequence[Check], texts: int, seen: int, device: str | None = None, data_sha256: str | None = None
) -> Parity:
    """The checks of one variant as the manifest records them; see :class:`~edgepipe.bundle.manifest.Parity`."""
    tensors: dict[str, float] = {}
    scores: list[float] = []
    for check in checks:
        for name, value in check.differences.items():
            if name == "score":
                scores.append(value)
            else:
                tensors[name] = max(tensors.get(name, 0.0), value)
    agreements = [check.agreement for check in checks if check.agreement is not None]
    return Parity(
        reference=checks[0].reference,
        texts=texts,
        seen=seen,
        max_abs_diff=tensors,
        max_score_diff=max(scores, default=None),
        label_agreement=min(agreements, default=None),
        bound="; ".join(dict.fromkeys(check.bound for check in checks)),
        passed=all(check.passed for check in checks),
        figures={name: value for check in checks for name, value in check.figures.items()},
        device=device,
        data_sha256=data_sha256,
    )
