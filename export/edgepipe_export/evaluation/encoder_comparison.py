"""The comparison of a task whose graph reads a text at once: tensors, and results of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepipe import Bundle, Tokenizer
from edgepipe_export.calibration.split import spread_by_length
from edgepipe_export.evaluation.checks import PYTORCH, Check, Comparison
from edgepipe_export.evaluation.differences import distance
from edgepipe_export.evaluation.gate import check_quantized
from edgepipe_export.evaluation.parity import check_parity, count_predictions, prepare_inputs
from edgepipe_export.evaluation.predictors import CachedPredictor, Predictor, VariantPredictor
from edgepipe_export.evaluation.pytorch_reference import PyTorchPredictor
from edgepipe_export.output.progress import Steps
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.session import SessionConfig
    from edgepipe.pipelines.base import Task
    from edgepipe_export.calibration.split import Split
    from edgepipe_export.checkpoint.load import LoadedCheckpoint
    from edgepipe_export.evaluation.tolerances import Tolerance

    Arrays = Mapping[str, NDArray[Any]]

# How many batches show what a single layer costs.
_FEW_BATCHES = 4


class EncoderComparison(Comparison):
    """See :class:`~edgepipe_export.evaluation.checks.Comparison`, which says what each method does.

    Attributes:
        texts: The texts.
    """

    def __init__(
        self,
        bundle: Bundle,
        loaded: LoadedCheckpoint,
        task: type[Task],
        data: Split,
        texts: Sequence[str] | None,
        session: SessionConfig | None,
        steps: Steps,
    ) -> None:
        """See :func:`~edgepipe_export.evaluation.comparison.make_comparison`."""
        self._bundle = bundle
        self._task = task
        self._session = session
        self._steps = steps
        tokenizer = Tokenizer.from_pretrained(bundle.path)
        self._inputs = prepare_inputs(task.name, tokenizer, bundle.config, bundle.max_length, texts)
        self.texts = self._inputs.texts
        self._data = data.measured
        first = FP32 if FP32 in bundle.dtypes else bundle.dtypes[0]
        variant = VariantPredictor(bundle, first, task, session, steps)
        self._encodings = variant.encode(self._data)
        self._calibration_encodings = variant.encode(data.calibrated) or self._encodings
        reference = PyTorchPredictor(loaded, variant.outputs, variant.layer_outputs, steps)
        self._predictors: dict[str, Predictor] = {
            first: CachedPredictor(variant, steps),
            PYTORCH: CachedPredictor(reference, steps),
        }

    def check_fp32(self, reference: str, bundle: Bundle | None) -> list[Check]:
        """By tensors and by results."""
        candidate = self._predictor(FP32, bundle)
        return check_parity(candidate, self._predictors[reference], self._inputs, self._task.name)

    def measure(
        self,
        dtype: str,
        reference: str,
        tolerance: Tolerance,
        bundle: Bundle | None = None,
        deadline: float | None = None,
    ) -> list[Check]:
        """Any variant by the gate."""
        candidate, expected = self._predictor(dtype, bundle), self._predictors[reference]
        return check_quantized(candidate, expected, self._task.name, self._data, self._encodings, tolerance, deadline)

    def _predictor(self, dtype: str, bundle: Bundle | None) -> Predictor:
        # Not kept: another variant's graph need not stay in memory.
        known = None if bundle is not None else self._predictors.get(dtype)
        return known or VariantPredictor(bundle or self._bundle, dtype, self._task, self._session, self._steps)

    def count_steps(self, dtype: str) -> int:
        """Tensors and results of the variant and of its reference."""
        if dtype == FP32:
            return 2 * count_predictions(self._inputs, self._task.name)
        return 2 * (len(self._encodings) + len(self._data.inputs))

    def distance(self, dtype: str, bundle: Bundle) -> float:
        """On a few batches of the data."""
        return self._distance(dtype, bundle, self._encodings)

    def calibration_distance(self, dtype: str, bundle: Bundle) -> float:
        """On a few batches of what recipes are calibrated with."""
        return self._distance(dtype, bundle, self._calibration_encodings)

    def _distance(self, dtype: str, bundle: Bundle, encodings: Sequence[Arrays]) -> float:
        candidate, reference = VariantPredictor(bundle, dtype, self._task, self._session), self._predictors[FP32]
        few = encodings[:: max(1, len(encodings) // _FEW_BATCHES)][:_FEW_BATCHES]
        return distance((reference.tensors(batch), candidate.tensors(batch)) for batch in few)

    def timed_run(self, dtype: str, bundle: Bundle) -> Callable[[], int]:
        """Texts of the data without their padding, through the graph."""
        predictor = VariantPredictor(bundle, dtype, self._task, self._session)
        rows = [
            {name: array[row : row + 1, : int(batch["attention_mask"][row].sum())] for name, array in batch.items()}
            for batch in self._encodings
            for row in range(len(batch["attention_mask"]))
        ]
        chosen = spread_by_length(rows, lambda row: row["input_ids"].shape[1])

        def run() -> int:
            for row in chosen:
                predictor.tensors(row)
            return len(chosen)

        return run
