"""The reference: a checkpoint in PyTorch, fp32 and eager, called as the graphs of a bundle are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from edgepipe import Tokenizer
from edgepipe.backend.device import DeviceSpec
from edgepipe.bundle.model_config import ModelConfig
from edgepipe.pipelines.registry import task_class
from edgepipe_export.checkpoint.architectures import find_architecture
from edgepipe_export.checkpoint.limits import find_limit
from edgepipe_export.checkpoint.model_inputs import accepted_inputs, cache_name
from edgepipe_export.checkpoint.tokenizer_files import write_tokenizer
from edgepipe_export.evaluation.checks import PYTORCH
from edgepipe_export.evaluation.tasks import pipeline_task
from edgepipe_export.output.progress import Steps
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.tracing.decoder import takes_position_ids
from edgepipe_export.tracing.encoder import Encoder

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from edgepipe_export.checkpoint.load import LoadedCheckpoint
    from edgepipe_export.evaluation.predictors import Arrays, Ids, Logits


def call_module(module: Callable[..., Any], arrays: Mapping[str, ArrayLike], **options: Any) -> Any:
    """Call a module of PyTorch with arrays and what else it takes; what it returns, in tensors."""
    with torch.no_grad():
        return module(**{name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}, **options)


class PyTorchEncoder:
    """An encoder in PyTorch, called as a :class:`~edgepipe.Model` is: tasks of the runtime can decode what it gives.

    Attributes:
        config: The checkpoint's ``config.json``.
        max_length: Longest input in tokens; None where it has no limit.
        device: Where it runs.
        on_cpu: Whether that is a processor.
        few_shapes: Whether the first run of each shape takes long.
        workers: How many of its runs go side by side.
        dtype: Of its weights.
        output_shapes: None are known before it runs.
    """

    device = DeviceSpec("cpu")
    on_cpu = True
    few_shapes = False
    workers = 1
    dtype = FP32
    output_shapes: Mapping[str, Sequence[int | str | None]] = MappingProxyType({})

    def __init__(self, loaded: LoadedCheckpoint, outputs: Sequence[str], layer_outputs: Sequence[str] = ()) -> None:
        """Take over a checkpoint.

        Args:
            loaded: The checkpoint.
            outputs: Names of the tensors to give.
            layer_outputs: Which tensors of every layer to give beside them.
        """
        self.config = ModelConfig(loaded.model.config.to_dict())
        self.max_length = find_limit(loaded.model).tokens
        self._model = loaded.model
        self._encoder = Encoder(loaded.model, tuple(outputs), tuple(layer_outputs))

    def __call__(self, **encoding: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """Run the model on [batch, length] integers."""
        result = call_module(self._encoder, {name: encoding[name] for name in accepted_inputs(self._model, encoding)})
        return {name: tensor.numpy() for name, tensor in result.items()}

    def close(self) -> None:
        """The checkpoint is the caller's: nothing is released."""


class PyTorchPredictor:
    """A checkpoint as a :class:`~edgepipe_export.evaluation.predictors.Predictor`."""

    name = PYTORCH

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        outputs: Sequence[str],
        layer_outputs: Sequence[str] = (),
        steps: Steps | None = None,
    ) -> None:
        """Take over a checkpoint; see :class:`PyTorchEncoder`. `steps` counts every result."""
        self._steps = steps or Steps()
        self._encoder = PyTorchEncoder(loaded, outputs, layer_outputs)
        self._pipeline = load_pipeline(pipeline_task(loaded.checkpoint.task.name), loaded)

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """See :class:`~edgepipe_export.evaluation.predictors.Predictor`."""
        found = self._encoder(**encoding)
        self._steps.tick()
        return found

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """See :class:`~edgepipe_export.evaluation.predictors.Predictor`."""
        return self._steps.count(self._pipeline(item, **options) for item in inputs)


def load_pipeline(task: str, loaded: LoadedCheckpoint) -> Callable[..., Any]:
    """The pipeline of transformers; where transformers removed it, our task over the checkpoint in PyTorch.

    Our task shows differences of the graph and of the tokenizer. That it decodes as the last transformers which had it
    is for the golden files of its tests.
    """
    if task in transformers.pipelines.get_supported_tasks():
        pipeline: Callable[..., Any] = transformers.pipeline(
            task, model=loaded.model, tokenizer=loaded.tokenizer, device="cpu"
        )
        return pipeline
    kind = task_class(task)
    with tempfile.TemporaryDirectory(prefix="edgepipe-tokenizer-") as folder:
        write_tokenizer(loaded.tokenizer, Path(folder))
        tokenizer = Tokenizer.from_pretrained(folder)
    return kind(tokenizer, PyTorchEncoder(loaded, kind.outputs))


class PyTorchLanguageModel:
    """A checkpoint as a :class:`~edgepipe_export.evaluation.predictors.LanguageModel`.

    All logits of a decoder are computed from the whole text, without a cache. Those of an encoder-decoder are computed
    step by step with one, as transformers' ``generate`` does: without, the positions of some begin elsewhere. So are
    those of decoders whose steps give other scores than the whole text.
    """

    name = PYTORCH

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        self._model = loaded.model
        self._is_encoder_decoder = bool(loaded.model.config.is_encoder_decoder)
        architecture = find_architecture(loaded.model)
        self._is_recurrent, self._steps_differ = architecture.is_recurrent, architecture.steps_differ

    def step_logits(self, ids: Ids, mask: Ids, following: Ids) -> list[Logits]:
        """See :class:`~edgepipe_export.evaluation.predictors.LanguageModel`."""
        if self._is_encoder_decoder:
            logits = self._decode(ids, mask, following)
            return [logits[:, step] for step in range(following.shape[1])]
        if self._steps_differ:
            return list(self._step(ids, following))
        whole = np.concatenate([ids, following], axis=1)
        logits = self._read(whole, np.concatenate([mask, np.ones_like(following)], axis=1))
        return [logits[:, step] for step in range(ids.shape[1] - 1, whole.shape[1])]

    def logits(self, ids: Ids, target: Ids | None) -> Logits:
        """See :class:`~edgepipe_export.evaluation.predictors.LanguageModel`."""
        row, mask = ids[None], np.ones_like(ids[None])
        if self._is_recurrent:
            return np.concatenate(list(self._step(row[:, :1], row[:, 1:])))
        found: Logits = (self._read(row, mask) if target is None else self._decode(row, mask, target[None]))[0]
        return found

    def generate(self, ids: Ids, count: int) -> list[int]:
        """See :class:`~edgepipe_export.evaluation.predictors.LanguageModel`."""
        source = {"inputs": ids[None], "attention_mask": np.ones_like(ids[None])}
        result = call_module(self._model.generate, source, do_sample=False, num_beams=1, max_new_tokens=count)
        tokens: list[int] = result[0].tolist()
        return tokens if self._is_encoder_decoder else tokens[len(ids) :]

    def follow(self, ids: Ids, count: int) -> tuple[Ids, list[Logits]]:
        """See :class:`~edgepipe_export.evaluation.predictors.LanguageModel`."""
        source = {"inputs": ids[None], "attention_mask": np.ones_like(ids[None])}
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": count, "min_new_tokens": count}
        result = call_module(self._model.generate, source, **options, return_dict_in_generate=True, output_logits=True)
        tokens: Ids = result["sequences"][0, len(ids) :].numpy()
        return tokens, [logits.float().numpy() for logits in result["logits"]]

    def _read(self, ids: Ids, mask: Ids) -> Logits:
        """The logits of a decoder-only model, float32[rows, length, vocabulary]."""
        inputs = {"input_ids": ids, "attention_mask": mask}
        if takes_position_ids(self._model):
            inputs["position_ids"] = np.maximum(mask.cumsum(axis=1) - 1, 0)
        logits: Logits = call_module(self._model, inputs, return_dict=True)["logits"].numpy()
        return logits

    def _step(self, ids: Ids, following: Ids) -> Iterator[Logits]:
        """The logits after a prompt, and after each token that follows, float32[rows, vocabulary] each.

        As in transformers' ``generate``, which gives such models no mask.
        """
        written = torch.from_numpy(np.concatenate([ids, following], axis=1))
        kept: dict[str, Any] = {"use_cache": True}
        for length in range(ids.shape[1], written.shape[1] + 1):
            inputs = self._model.prepare_inputs_for_generation(written[:, :length], **kept)
            with torch.no_grad():
                result = self._model(**inputs, return_dict=True)
            kept = self._model._update_model_kwargs_for_generation(result, kept)
            logits: Logits = result["logits"][:, -1].numpy()
            yield logits

    def _decode(self, ids: Ids, mask: Ids, target: Ids) -> Logits:
        """The logits of an encoder-decoder, float32[rows, target, vocabulary]."""
        past, logits, name = None, [], cache_name(self._model)
        source = {"input_ids": ids, "attention_mask": mask}
        encoded = call_module(self._model.get_encoder(), source, return_dict=True)
        for token in target.T[:, :, None]:
            inputs = {"attention_mask": mask, "decoder_input_ids": token}
            options = {"encoder_outputs": encoded, name: past, "use_cache": True, "return_dict": True}
            result = call_module(self._model, inputs, **options)
            past = result[name]
            logits.append(result["logits"].numpy())
        return np.concatenate(logits, axis=1)
