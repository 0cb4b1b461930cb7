"""Variants of a bundle beside PyTorch and beside each other, whatever their task: what export and verify both do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from edgepipe import Bundle, Tokenizer
from edgepipe.errors import InputError
from edgepipe_export.output.progress import Steps
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.session import SessionConfig
    from edgepipe.pipelines.base import Task
    from edgepipe_export.calibration.dataset import Calibration
    from edgepipe_export.calibration.split import Split
    from edgepipe_export.checkpoint.load import Loaded
    from edgepipe_export.evaluation.parity import Check
    from edgepipe_export.evaluation.predictors import Side
    from edgepipe_export.evaluation.tolerance import Tolerance

PYTORCH = "pytorch-fp32"

# How many batches show what a single layer costs.
_FEW_BATCHES = 4

# How many inputs latency is measured on.
_TIMED = 8

_Item = TypeVar("_Item")


class Comparison(Protocol):
    """What a task's variants are compared on, and how.

    Attributes:
        texts: The texts that fp32 is compared with PyTorch on.
        measured: How many inputs quantized variants are measured on.
    """

    texts: tuple[str, ...]
    measured: int

    def check(self, dtype: str, reference: str, allowed: Tolerance, bundle: Bundle | None = None) -> list[Check]:
        """Compare a variant with a reference: :data:`PYTORCH`, or the fp32 variant.

        Args:
            dtype: The variant. One that is fp32 must give what the reference gives.
            reference: What it is compared with.
            allowed: What a quantized variant may lose.
            bundle: Where the variant is; by default the bundle that the comparison was made for.
        """
        ...

    def measure(self, dtype: str, reference: str, allowed: Tolerance, bundle: Bundle | None = None) -> list[Check]:
        """Measure a variant on the data as the gate does, fp32 too; see :meth:`check`."""
        ...

    def steps(self, dtype: str) -> int:
        """How many steps a check of a variant counts."""
        ...

    def timed(self, dtype: str, bundle: Bundle) -> Callable[[], int]:
        """What runs a variant on some inputs of typical lengths, one at a time; it returns how many."""
        ...

    def distance(self, dtype: str, bundle: Bundle) -> float:
        """How far a variant's outputs are from fp32's on a few inputs, as :func:`.compare.distance`."""
        ...

    def cost(self, dtype: str, bundle: Bundle) -> float:
        """The same on a few of the inputs that recipes are calibrated with: choosing layers is fitting too."""
        ...


def make_comparison(
    bundle: Bundle,
    loaded: Loaded,
    task: type[Task],
    texts: Sequence[str] | None = None,
    data: Split | None = None,
    session: SessionConfig | None = None,
    steps: Steps | None = None,
) -> Comparison:
    """Prepare a comparison.

    Args:
        bundle: The bundle.
        loaded: The checkpoint in PyTorch.
        task: The task to compare; a bundle may do for several.
        texts: Texts to compare on; by default the built-in ones of the task.
        data: What quantized variants are measured on; by default the texts.
        session: Where the variants run; PyTorch runs where it is.
        steps: Counts the answers of either side while checks go on, see :meth:`Comparison.steps`.

    Raises:
        InputError: the task cannot be asked about any of the texts.
    """
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    if task.generates:
        from edgepipe_export.evaluation.generation_parity import GenerationComparison

        inputs = texts if data is None else data.measured.inputs
        return GenerationComparison(bundle, loaded, tokenizer, inputs, session)
    return _Understanding(bundle, loaded, tokenizer, task, texts, data, session, steps or Steps())


def data_of(
    task: type[Task],
    tokenizer: Tokenizer,
    limit: int | None,
    given: Calibration | None = None,
    texts: Sequence[str] | None = None,
) -> Calibration:
    """What variants are calibrated with and measured on, cut to what the model takes.

    Args:
        task: The task.
        tokenizer: The bundle's tokenizer.
        limit: The longest input the model takes; None for no limit.
        given: What the user gave; None for what the task is asked about texts.
        texts: The texts; by default the built-in ones of the task.

    Raises:
        InputError: the task cannot be asked about any of the texts.
    """
    from edgepipe_export.calibration.dataset import BUILT_IN, Calibration
    from edgepipe_export.calibration.texts import sentences
    from edgepipe_export.evaluation.parity import inputs_to_ask

    if given is None:
        origin = BUILT_IN if texts is None else "texts"
        if task.generates:
            return Calibration(tuple(sentences() if texts is None else texts), None, origin)
        return Calibration(inputs_to_ask(task.name, tokenizer, limit, texts), None, origin)
    return given if task.generates else given.fitted(tokenizer, limit)


def calibration_batches(
    bundle: Bundle, task: type[Task], calibration: Calibration
) -> tuple[Mapping[str, NDArray[Any]], ...]:
    """What recipes are calibrated with, as the fp32 graph takes it: padded batches.

    Raises:
        InputError: the task's graphs do not read a text at once.
    """
    from edgepipe_export.evaluation.predictors import VariantSide

    if task.generates:
        raise InputError(f"{task.name} writes token by token, and recipes that need calibration are for encoders")
    return VariantSide(bundle, FP32, task).encodings(calibration)


class _Understanding:
    """The comparison of a task that reads a graph's tensors once: :mod:`edgepipe_export.evaluation.parity` and its
    gate."""

    def __init__(
        self,
        bundle: Bundle,
        loaded: Loaded,
        tokenizer: Tokenizer,
        task: type[Task],
        texts: Sequence[str] | None,
        data: Split | None,
        session: SessionConfig | None,
        steps: Steps,
    ) -> None:
        from edgepipe_export.calibration.split import unsplit
        from edgepipe_export.evaluation.parity import make_material
        from edgepipe_export.evaluation.predictors import PyTorchSide, Recorded, VariantSide

        self._bundle = bundle
        self._task = task
        self._session = session
        self._steps = steps
        self._material = make_material(task.name, tokenizer, bundle.config, bundle.max_length, texts)
        self.texts = self._material.texts
        sides = data or unsplit(data_of(task, tokenizer, bundle.max_length, texts=texts))
        self._data = sides.measured
        self.measured = len(self._data.inputs)
        first = FP32 if FP32 in bundle.dtypes else bundle.dtypes[0]
        side = VariantSide(bundle, first, task, session, steps)
        self._encodings = side.encodings(self._data)
        self._calibrating = side.encodings(sides.calibrated) or self._encodings
        self._sides: dict[str, Side] = {
            first: Recorded(side, steps),
            PYTORCH: Recorded(PyTorchSide(loaded, side.outputs, side.series, steps), steps),
        }

    def check(self, dtype: str, reference: str, allowed: Tolerance, bundle: Bundle | None = None) -> list[Check]:
        """See :class:`Comparison`."""
        from edgepipe_export.evaluation.parity import check_exact

        if dtype == FP32:
            return check_exact(self._side(dtype, bundle), self._sides[reference], self._material, self._task.name)
        return self.measure(dtype, reference, allowed, bundle)

    def measure(self, dtype: str, reference: str, allowed: Tolerance, bundle: Bundle | None = None) -> list[Check]:
        """See :class:`Comparison`."""
        from edgepipe_export.evaluation.gate import check_quantized

        candidate, side = self._side(dtype, bundle), self._sides[reference]
        return check_quantized(candidate, side, self._task.name, self._data, self._encodings, allowed)

    def _side(self, dtype: str, bundle: Bundle | None) -> Side:
        from edgepipe_export.evaluation.predictors import VariantSide

        # Not kept: another variant's graph need not stay in memory.
        known = None if bundle is not None else self._sides.get(dtype)
        return known or VariantSide(bundle or self._bundle, dtype, self._task, self._session, self._steps)

    def steps(self, dtype: str) -> int:
        """See :class:`Comparison`."""
        from edgepipe_export.evaluation.parity import exact_answers

        if dtype == FP32:
            return 2 * exact_answers(self._material, self._task.name)
        return 2 * (len(self._encodings) + len(self._data.inputs))

    def distance(self, dtype: str, bundle: Bundle) -> float:
        """See :class:`Comparison`."""
        return self._distance(dtype, bundle, self._encodings)

    def cost(self, dtype: str, bundle: Bundle) -> float:
        """See :class:`Comparison`."""
        return self._distance(dtype, bundle, self._calibrating)

    def _distance(self, dtype: str, bundle: Bundle, encodings: Sequence[Mapping[str, NDArray[Any]]]) -> float:
        from edgepipe_export.evaluation.differences import distance
        from edgepipe_export.evaluation.predictors import VariantSide

        candidate, reference = VariantSide(bundle, dtype, self._task, self._session), self._sides[FP32]
        few = encodings[:: max(1, len(encodings) // _FEW_BATCHES)][:_FEW_BATCHES]
        return distance((reference.tensors(batch), candidate.tensors(batch)) for batch in few)

    def timed(self, dtype: str, bundle: Bundle) -> Callable[[], int]:
        """See :class:`Comparison`."""
        from edgepipe_export.evaluation.predictors import VariantSide

        side = VariantSide(bundle, dtype, self._task, self._session)
        rows = [
            {name: array[row : row + 1, : int(batch["attention_mask"][row].sum())] for name, array in batch.items()}
            for batch in self._encodings
            for row in range(len(batch["attention_mask"]))
        ]
        chosen = spread_out(rows, lambda row: row["input_ids"].shape[1])

        def run() -> int:
            for row in chosen:
                side.tensors(row)
            return len(chosen)

        return run


def spread_out(items: Sequence[_Item], length: Callable[[_Item], int]) -> list[_Item]:
    """Some of the items whose lengths are spread as all of theirs are."""
    ranked = sorted(items, key=length)
    count = min(_TIMED, len(ranked))
    return [ranked[(2 * number + 1) * len(ranked) // (2 * count)] for number in range(count)]
