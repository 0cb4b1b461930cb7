"""What is compared, as two small interfaces; and the variants of a bundle as both."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepipe import Bundle, Model, Tokenizer
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.generation.search.teacher_forcing import force_tokens, write_likeliest
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.pipelines.registry import task_class
from edgepipe_export.evaluation.tasks import find_evaluation, pipeline_task
from edgepipe_export.output.progress import Steps
from edgepipe_export.tracing.encoder import POOLER, find_layer_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.session import SessionConfig
    from edgepipe.pipelines.base import Task
    from edgepipe_export.calibration.dataset import Dataset

    Arrays = Mapping[str, NDArray[Any]]
    Ids = NDArray[np.int64]
    Logits = NDArray[np.float32]

# How many inputs tensors are compared on, and how many pieces of text go together.
_ENCODED = 200
_BATCH = 8


class Predictor(Protocol):
    """What gives tensors for encodings, and results for the inputs of a pipeline.

    Attributes:
        name: What reports call it, e.g. ``"pytorch-fp32"``.
    """

    name: str

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """The output tensors of a batch of int64[batch, length] arrays."""

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """The pipeline's result for each input, each computed alone."""


class LanguageModel(Protocol):
    """What gives logits for tokens, and generates tokens.

    Attributes:
        name: What reports call it.
    """

    name: str

    def step_logits(self, ids: Ids, mask: Ids, following: Ids) -> list[Logits]:
        """The logits after the prompt, and after each of the tokens that follow, float32[rows, vocabulary] each.

        Args:
            ids: int64[rows, length], the prompt, or the source of an encoder-decoder.
            mask: int64[rows, length].
            following: int64[rows, steps]; those of an encoder-decoder begin with what its decoder starts with.
        """
        ...

    def logits(self, ids: Ids, target: Ids | None) -> Logits:
        """The logits after every token of one text, or of what an encoder-decoder makes of it.

        Args:
            ids: int64[length].
            target: int64[target], what the decoder reads; None for decoder-only models.

        Returns:
            float32[length or target, vocabulary].
        """
        ...

    def generate(self, ids: Ids, count: int) -> list[int]:
        """`count` new tokens of a greedy search, or fewer where the text ends."""
        ...

    def follow(self, ids: Ids, count: int) -> tuple[Ids, list[Logits]]:
        """Write on with the likeliest tokens, past the end of the text, as a search does: with the cache of one.

        Args:
            ids: int64[length], the prompt; not of an encoder-decoder.
            count: How many tokens.

        Returns:
            The tokens, int64[count], and the logits that each was chosen by, float32[1, vocabulary].
        """
        ...


class VariantPredictor:
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
        kind = task_class(pipeline_task(bundle.task or "" if task is None else task.name))
        self._task = kind(Tokenizer.from_pretrained(bundle.path), self._model)
        self._task.warns_of_cuts = False  # the reference cuts them too

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that the task reads, and the pooler's if the graph gives it."""
        return (*self._task.outputs, *(name for name in self._model.output_names if name == POOLER))

    @property
    def layer_outputs(self) -> tuple[str, ...]:
        """Which tensors of every layer the graph gives: ``"hidden_states"``, ``"attentions"``."""
        return find_layer_outputs(self._model.output_names)

    @property
    def input_names(self) -> Container[str]:
        """Names of the tensors that the graph takes; a tokenizer may make more."""
        return self._model.session.inputs

    def encode(self, data: Dataset) -> tuple[Arrays, ...]:
        """The first inputs as the graph takes them: padded batches, int64[batch, length] arrays."""
        options = {**find_evaluation(self._task.name).options[-1], **data.options}
        settings = self._task.settings(options)
        requests = (self._task.encode(item, settings) for item in data.inputs[:_ENCODED])
        pieces = [piece for request in requests for piece in request.pieces]
        batches = (pieces[start : start + _BATCH] for start in range(0, len(pieces), _BATCH))
        return tuple(dict(self._task.tokenizer.pad(batch, return_tensors="np")) for batch in batches)

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """See :class:`Predictor`."""
        found = self._model(**encoding)
        self._steps.tick()
        return found

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """See :class:`Predictor`."""
        return self._steps.count(self._task(item, **options) for item in inputs)


class CachedPredictor:
    """A predictor that computes everything once: every variant is compared with the same tensors and results.

    Attributes:
        name: The name of the predictor.
    """

    def __init__(self, predictor: Predictor, steps: Steps | None = None) -> None:
        self.name = predictor.name
        self._predictor = predictor
        self._steps = steps or Steps()
        self._tensors: list[tuple[Arrays, dict[str, NDArray[np.float32]]]] = []
        self._results: list[tuple[tuple[tuple[Any, ...], dict[str, Any]], list[Any]]] = []

    def tensors(self, encoding: Arrays) -> dict[str, NDArray[np.float32]]:
        """See :class:`Predictor`."""
        for known, tensors in self._tensors:
            if known is encoding:
                self._steps.tick()
                return tensors
        self._tensors.append((encoding, self._predictor.tensors(encoding)))
        return self._tensors[-1][1]

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """See :class:`Predictor`."""
        call = (tuple(inputs), dict(options))
        for known, results in self._results:
            if known == call:
                self._steps.tick(len(inputs))
                return results
        self._results.append((call, self._predictor.results(inputs, options)))
        return self._results[-1][1]


class VariantLanguageModel:
    """One variant of a bundle that generates, in the edgepipe runtime."""

    def __init__(self, bundle: Bundle, dtype: str, tokenizer: Tokenizer, session: SessionConfig | None = None) -> None:
        self.name = dtype
        self._decoder: Any = load_decoder(bundle, dtype, session)
        self._tokenizer = tokenizer

    def step_logits(self, ids: Ids, mask: Ids, following: Ids) -> list[Logits]:
        """See :class:`LanguageModel`."""
        return force_tokens(self._decoder, ids, mask, following)

    def logits(self, ids: Ids, target: Ids | None) -> Logits:
        """See :class:`LanguageModel`."""
        rows = (ids[None], np.ones_like(ids[None]))
        found: Logits = self._decoder.scores(*rows, *([] if target is None else [target[None]]))[0]
        return found

    def generate(self, ids: Ids, count: int, *, least: int = 0) -> list[int]:
        """See :class:`LanguageModel`; at least so many tokens, wherever the text would end."""
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": count}
        if least:
            options["min_new_tokens"] = least
        config = generation_config(self._decoder, {}, options, tokenizer=self._tokenizer)
        found = generate(self._decoder, ids[None], np.ones_like(ids[None]), config, tokenizer=self._tokenizer)
        return found[0][0].token_ids

    def follow(self, ids: Ids, count: int) -> tuple[Ids, list[Logits]]:
        """See :class:`LanguageModel`."""
        tokens, logits = write_likeliest(self._decoder, ids, count)
        return np.array(tokens, np.int64), logits
