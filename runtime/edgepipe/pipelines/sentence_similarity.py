"""Sentence similarity: how near sentences are to another, by their embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from edgepipe.embeddings.modules import SENTENCE_EMBEDDING
from edgepipe.embeddings.pooling import normalize
from edgepipe.errors import InputError
from edgepipe.pipelines.base import Outputs, Request
from edgepipe.pipelines.options import check_options
from edgepipe.pipelines.sentence_embedding import Embedding, EmbeddingTask, Vectors
from edgepipe.pipelines.text_columns import as_list

if TYPE_CHECKING:
    from edgepipe.pipelines.task_inputs import AnyComparison, Comparison
    from edgepipe.pipelines.task_options import CallSentenceSimilarity

_KEYS = ("source_sentence", "sentences")


def _cosine(source: Vectors, sentences: Vectors) -> Vectors:
    return _dot(normalize(source), normalize(sentences))


def _dot(source: Vectors, sentences: Vectors) -> Vectors:
    scores: Vectors = sentences @ source
    return scores


# float32[dimension] and float32[sentences, dimension] to float32[sentences].
SIMILARITIES: dict[str, Callable[[Vectors, Vectors], Vectors]] = {"cosine": _cosine, "dot": _dot}


class SentenceSimilarity(EmbeddingTask):
    """Similarity of sentences, in the form of the Hub's inference API.

    ::

        compare = pipeline("sentence-similarity", "path/to/bundle")
        compare({"source_sentence": "A cat sat there.", "sentences": ["A cat sits.", "It rains."]})  # [0.89, 0.11]

    The option of a call may be given to ``pipeline`` too; then it holds for every call. Sentences are embedded as
    :meth:`~edgepipe.pipelines.feature_extraction.FeatureExtraction.embed` does it, with the bundle's default prompt.
    """

    name = "sentence-similarity"
    json_example = '{"source_sentence": "...", "sentences": ["...", "..."]}'

    @overload
    def __call__(self, inputs: AnyComparison, **options: Unpack[CallSentenceSimilarity]) -> list[float]: ...
    @overload
    def __call__(
        self, inputs: list[Comparison] | tuple[Comparison, ...], **options: Unpack[CallSentenceSimilarity]
    ) -> list[list[float]]: ...
    @overload
    def __call__(
        self, inputs: Iterator[AnyComparison], **options: Unpack[CallSentenceSimilarity]
    ) -> Iterator[list[float]]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Compare sentences.

        Args:
            inputs: ``{"source_sentence": str, "sentences": [str]}``, or a list or iterator of such dicts.
            batch_size: How many sentences go through the graph at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: ``similarity``: ``"cosine"`` (the default) or ``"dot"``.

        Returns:
            For each dict a list with the similarity of each of its sentences to the source sentence.

        Raises:
            InputError: an input or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        return self._call(inputs, batch_size=batch_size, progress=progress, **options)

    def settings(self, options: Mapping[str, Any]) -> Any:
        """Check the options; see :meth:`Task.settings`."""
        check_options(options, ("similarity",), self.name)
        name = options.get("similarity", "cosine")
        if not isinstance(name, str) or name not in SIMILARITIES:
            raise InputError(f"similarity must be one of {', '.join(SIMILARITIES)}, got {name!r}")
        self.sentence_config.modules_for(None)  # a bundle that does not say how to embed is reported at once
        return SIMILARITIES[name]

    def encode(self, item: Any, settings: Any) -> Request:
        """Token ids of the source sentence and of those to compare with it."""
        if not isinstance(item, Mapping) or set(item) != set(_KEYS):
            raise InputError(f'expected {{"source_sentence": a text, "sentences": a list of texts}}, got {item!r:.80}')
        source, sentences = (as_list(item[key]) for key in _KEYS)
        if not isinstance(sentences, (list, tuple)) or not sentences:
            raise InputError(f"sentences must be a list of at least one text, got {sentences!r:.60}")
        prompt = self.sentence_config.prompt()
        return self.encode_texts([source, *sentences], prompt)

    def run_batch(self, pieces: Sequence[Mapping[str, list[int]]]) -> list[Mapping[str, Vectors]]:
        """The vector of each piece, in place of its hidden states."""
        return [{SENTENCE_EMBEDDING: vector} for vector in self.embed_batch(pieces, self._embedding)]

    @cached_property
    def _embedding(self) -> Embedding:
        return self.make_embedding()

    def decode(self, request: Request, outputs: Sequence[Outputs], settings: Any) -> list[float]:
        """The similarities of one dict."""
        source, *sentences = (arrays[SENTENCE_EMBEDDING] for arrays in outputs)
        scores: list[float] = settings(source, np.stack(sentences)).tolist()
        return scores
