"""Feature extraction: the hidden state of every token, and sentence embeddings made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Unpack, overload

import numpy as np

from edgepipe.embeddings.modules import SENTENCE_EMBEDDING
from edgepipe.errors import InputError
from edgepipe.pipelines.base import Outputs, Request, Result
from edgepipe.pipelines.options import build_tokenizer_options, check_options, check_text, check_tokenizer_arguments
from edgepipe.pipelines.sentence_embedding import Embedding, EmbeddingTask, Vectors, find_hidden_states

if TYPE_CHECKING:
    from edgepipe.pipelines.task_options import CallFeatureExtraction
    from edgepipe.pipelines.task_results import HiddenStates


@dataclass(frozen=True, slots=True)
class FeatureExtractionSettings:
    """Checked options.

    Attributes:
        tokenizer: Keyword arguments for the tokenizer.
        arrays: Whether results are arrays rather than lists.
    """

    tokenizer: Mapping[str, Any]
    arrays: bool


class FeatureExtraction(EmbeddingTask, Generic[Result]):
    """Hidden states, as transformers' ``FeatureExtractionPipeline`` gives them; and sentence embeddings.

    ::

        extract = pipeline("feature-extraction", "path/to/bundle")
        extract("A sentence")  # the hidden state of each token: lists of float, [1, tokens, hidden]
        extract.embed(["A sentence", "Another one"])  # one vector a text: float32[2, dimension]

    The options of a call may be given to ``pipeline`` too; then they hold for every call. A text longer than the
    model's limit is truncated.
    """

    name = "feature-extraction"

    @overload
    def __call__(
        self, inputs: str, *, return_tensors: Literal[True], **options: Unpack[CallFeatureExtraction]
    ) -> Vectors: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: Literal[True],
        **options: Unpack[CallFeatureExtraction],
    ) -> list[Vectors]: ...
    @overload
    def __call__(
        self, inputs: Iterator[str], *, return_tensors: Literal[True], **options: Unpack[CallFeatureExtraction]
    ) -> Iterator[Vectors]: ...
    @overload
    def __call__(
        self, inputs: str, *, return_tensors: Literal[False], **options: Unpack[CallFeatureExtraction]
    ) -> HiddenStates: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: Literal[False],
        **options: Unpack[CallFeatureExtraction],
    ) -> list[HiddenStates]: ...
    @overload
    def __call__(
        self, inputs: Iterator[str], *, return_tensors: Literal[False], **options: Unpack[CallFeatureExtraction]
    ) -> Iterator[HiddenStates]: ...
    @overload
    def __call__(self, inputs: str, **options: Unpack[CallFeatureExtraction]) -> Result: ...
    @overload
    def __call__(
        self, inputs: list[str] | tuple[str, ...], **options: Unpack[CallFeatureExtraction]
    ) -> list[Result]: ...
    @overload
    def __call__(self, inputs: Iterator[str], **options: Unpack[CallFeatureExtraction]) -> Iterator[Result]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Compute hidden states.

        Args:
            inputs: A text, or a list or iterator of texts.
            batch_size: How many texts go through the graph at once; by default the pipeline's own. With more than one,
                results have rows for the padding of their batch, as in transformers; without, or with ``embed``, none.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: ``return_tensors``: whether results are arrays instead of lists.
                ``truncation``: whether, and how, a text that is too long is cut.
                ``tokenize_kwargs``: a dict of the tokenizer's arguments.

        Returns:
            For each text the last hidden state, [1, tokens, hidden], as nested lists of float or, with
            ``return_tensors=True``, as a float32 array.

        Raises:
            InputError: an input or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        return self._call(inputs, batch_size=batch_size, progress=progress, **options)

    @property
    def keeps_padding(self) -> bool:
        """There are rows for padding."""
        return True

    def settings(self, options: Mapping[str, Any]) -> FeatureExtractionSettings:
        """Check the options; see :meth:`Task.settings`."""
        check_options(options, ("truncation", "tokenize_kwargs", "return_tensors"), self.name)
        arguments = dict(check_tokenizer_arguments("tokenize_kwargs", options.get("tokenize_kwargs")))
        if options.get("truncation") is not None:
            if "truncation" in arguments:
                raise InputError("truncation is given twice: alone, and in tokenize_kwargs")
            arguments["truncation"] = options["truncation"]
        return FeatureExtractionSettings(
            build_tokenizer_options(arguments, self.tokenizer, self.model.max_length, self.name),
            bool(options.get("return_tensors", False)),
        )

    def encode(self, item: Any, settings: FeatureExtractionSettings) -> Request:
        """Token ids of one text."""
        encoding = self.tokenizer(check_text(item), **settings.tokenizer)
        return Request([encoding], is_cut=encoding.is_cut)

    def compute_outputs(
        self, pieces: Sequence[Mapping[str, list[int]]], following: Sequence[int] = ()
    ) -> Sequence[Outputs]:
        """See :meth:`Task.compute_outputs`; beside the hidden states the vector of a text, if the bundle has one."""
        outputs = super().compute_outputs(pieces)
        modules = self.sentence_config.modules
        if modules is None:
            return outputs
        hidden = np.stack([find_hidden_states(own) for own in outputs])
        mask = self._pad_arrays(pieces)["attention_mask"]
        vectors = self._apply_modules(hidden, mask, Embedding("", 0, modules, None, normalize=False))
        return [{**own, SENTENCE_EMBEDDING: vector} for own, vector in zip(outputs, vectors, strict=True)]

    def decode(self, request: Request, outputs: Sequence[Outputs], settings: FeatureExtractionSettings) -> Any:
        """The hidden states of one text, float32[1, tokens, hidden]."""
        hidden = find_hidden_states(outputs[0])[None]
        # A copy: a row of a batch would keep the whole batch in memory.
        return hidden.copy() if settings.arrays else hidden.tolist()
