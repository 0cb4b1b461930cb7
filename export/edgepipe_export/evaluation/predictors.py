"""The two sides of a comparison, PyTorch and a variant of a bundle, as one interface: tensors and results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepipe import Bundle, Model, Tokenizer
from edgepipe.pipelines.registry import task_class
from edgepipe_export.evaluation.task_inputs import compared_as, questions
from edgepipe_export.output.progress import Steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.session import SessionConfig
    from edgepipe.pipelines.base import Task
    from edgepipe_export.calibration.dataset import Calibration
    from edgepipe_export.checkpoint.load import Loaded

    Arrays = Mapping[str, NDArray[Any]]

# How many inputs tensors are compared on, and how many pieces of text go together.
_ENCODED = 200
_BATCH = 8


class Side(Protocol):
    """What gives tensors for encodings, and results for the inputs of a pipeline.

    Attributes:
        name: What reports call it, e.g. ``"pytorch-fp32"``.
    """

    name: str

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """The output tensors of a batch of int64[batch, length] arrays."""

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """The pipeline's result for each input, each computed alone."""


class PyTorchSide:
    """The checkpoint in PyTorch: fp32, eager."""

    name = "pytorch-fp32"

    def __init__(
        self, loaded: Loaded, outputs: Sequence[str], series: Sequence[str] = (), steps: Steps | None = None
    ) -> None:
        """Take over a checkpoint.

        Args:
            loaded: The checkpoint.
            outputs: Names of the tensors to give.
            series: Which tensors of every layer to give beside them.
            steps: Counts every answer.
        """
        self._steps = steps or Steps()
        self._model = loaded.model
        self._outputs = tuple(outputs)
        self._series = tuple(series)
        self._pipeline = _pipeline(compared_as(loaded.checkpoint.task.name), loaded)

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """See :class:`Side`."""
        import torch

        from edgepipe_export.checkpoint.model_inputs import accepted_inputs
        from edgepipe_export.tracing.encoder import Encoder

        encoder = Encoder(self._model, self._outputs, self._series)
        names = accepted_inputs(self._model, encoding)
        with torch.no_grad():
            result = encoder(**{name: torch.from_numpy(encoding[name]) for name in names})
        self._steps.tick()
        return {name: tensor.numpy() for name, tensor in result.items()}

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """See :class:`Side`."""
        return _one_by_one(self._pipeline, inputs, options, self._steps)


def _one_by_one(
    pipeline: Callable[..., Any], inputs: Sequence[Any], options: Mapping[str, Any], steps: Steps
) -> list[Any]:
    results = []
    for item in inputs:
        results.append(pipeline(item, **options))
        steps.tick()
    return results


def _pipeline(task: str, loaded: Loaded) -> Callable[..., Any]:
    """The pipeline of transformers, or ours over the same model where transformers no longer has it."""
    import transformers

    if task not in transformers.pipelines.get_supported_tasks():
        from edgepipe_export.evaluation.removed_pipelines import removed_pipeline

        return removed_pipeline(task, loaded)
    pipeline: Callable[..., Any] = transformers.pipeline(
        task, model=loaded.model, tokenizer=loaded.tokenizer, device="cpu"
    )
    return pipeline


class Recorded:
    """A reference that is asked once: every variant is compared with the same answers.

    Attributes:
        name: The name of the side whose answers are kept.
    """

    def __init__(self, side: Side, steps: Steps | None = None) -> None:
        self.name = side.name
        self._side = side
        self._steps = steps or Steps()
        self._tensors: list[tuple[Arrays, dict[str, NDArray[np.float32]]]] = []
        self._results: list[tuple[tuple[Any, ...], list[Any]]] = []

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """See :class:`Side`."""
        for known, answer in self._tensors:
            if known is encoding:
                self._steps.tick()
                return answer
        self._tensors.append((encoding, self._side.tensors(encoding)))
        return self._tensors[-1][1]

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """See :class:`Side`."""
        question = (tuple(inputs), dict(options))
        for known, answer in self._results:
            if known == question:
                self._steps.tick(len(inputs))
                return answer
        self._results.append((question, self._side.results(inputs, options)))
        return self._results[-1][1]


class VariantSide:
    """One variant of a bundle, in the edgepipe runtime."""

    def __init__(
        self,
        bundle: Bundle,
        dtype: str,
        task: type[Task] | None = None,
        session: SessionConfig | None = None,
        steps: Steps | None = None,
    ) -> None:
        self._steps = steps or Steps()
        self.name = dtype
        self._model = Model(bundle, dtype, session)
        kind = task_class(compared_as(bundle.task or "" if task is None else task.name))
        self._task = kind(Tokenizer.from_pretrained(bundle.path), self._model)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that the task reads, and the pooler's if the graph gives it."""
        from edgepipe_export.tracing.encoder import POOLER

        return (*self._task.outputs, *(name for name in self._model.output_names if name == POOLER))

    @property
    def series(self) -> tuple[str, ...]:
        """Which tensors of every layer the graph gives: ``"hidden_states"``, ``"attentions"``."""
        from edgepipe_export.tracing.encoder import find_layer_outputs

        return find_layer_outputs(self._model.output_names)

    def encodings(self, calibration: Calibration) -> tuple[Arrays, ...]:
        """The first inputs as the graph takes them: padded batches, int64[batch, length] arrays."""
        options = {**questions(self._task.name).options[-1], **calibration.options}
        settings = self._task.settings(options)
        requests = (self._task.encode(item, settings) for item in calibration.inputs[:_ENCODED])
        pieces = [piece for request in requests for piece in request.pieces]
        batches = (pieces[start : start + _BATCH] for start in range(0, len(pieces), _BATCH))
        return tuple(dict(self._task.tokenizer.pad(batch, return_tensors="np")) for batch in batches)

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """See :class:`Side`."""
        found = self._model(**encoding)
        self._steps.tick()
        return found

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """See :class:`Side`."""
        return _one_by_one(self._task, inputs, options, self._steps)
