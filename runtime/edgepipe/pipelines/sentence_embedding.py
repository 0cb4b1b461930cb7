"""What tasks with sentence embeddings share: one vector a text, as sentence-transformers makes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import check_flag, check_whole
from edgepipe.embeddings.modules import SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS, Features, Module
from edgepipe.embeddings.pooling import check_modes, normalize
from edgepipe.embeddings.sentence_config import SentenceConfig, read_sentence_config
from edgepipe.errors import BundleError, EdgepipeError, InputError, first_line, not_finite_error
from edgepipe.models.graph_outputs import check_output
from edgepipe.pipelines.base import Request, Task, list_pieces, show_progress
from edgepipe.pipelines.batching import chunks
from edgepipe.pipelines.cut_texts import CutTexts
from edgepipe.pipelines.options import check_text, min_limit
from edgepipe.pipelines.text_columns import as_list
from edgepipe.tokenization.batch_encoding import BatchEncoding
from edgepipe.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edgepipe.models.encoder import Model

Vectors = NDArray[np.float32]


# The output of our graphs, then that of graphs that optimum exports from sentence-transformers directories.
_HIDDEN_STATES = ("last_hidden_state", TOKEN_EMBEDDINGS)


@dataclass(frozen=True, slots=True)
class Embedding:
    """How texts are embedded in one call.

    Attributes:
        prompt: What goes before every text.
        prompt_length: Its tokens, less the one that ends a text.
        modules: What makes one vector of the tokens'.
        truncate_dim: How many values are kept, None for all.
        normalize: Whether vectors are scaled to length 1 in the end.
    """

    prompt: str
    prompt_length: int
    modules: Sequence[Module]
    truncate_dim: int | None
    normalize: bool


class EmbeddingTask(Task):
    """A task whose model has no head: hidden states, and the vectors that a bundle's modules make of them."""

    outputs = ("last_hidden_state",)
    token_level = True
    model: Model

    def __init__(
        self, tokenizer: Tokenizer, model: Model, *, task: str | None = None, batch_size: int = 1, **options: Any
    ) -> None:
        super().__init__(tokenizer, model, task=task, batch_size=batch_size, **options)
        with suppress(BundleError):  # said when vectors are wanted
            self.sentence_config  # noqa: B018 - read now: later the folder may hold another export

    @classmethod
    def fits(cls, architecture: str) -> bool:
        """Any checkpoint has a body, whatever its head."""
        return True

    def with_tokenizer(self, tokenizer: Tokenizer) -> Self:
        """See the base class."""
        other = super().with_tokenizer(tokenizer)
        other.__dict__.pop("embedding_tokenizer", None)  # it was made of the other one
        return other

    def check_outputs(self, outputs: Mapping[str, Vectors], rows: int, tokens: int) -> None:
        """Check the hidden states, by any of their names; see :meth:`Task.check_outputs`."""
        find_hidden_states(outputs)
        name = next(name for name in _HIDDEN_STATES if name in outputs)
        check_output(outputs, name, (rows, tokens, None))

    def embed(
        self,
        texts: str | Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pooling: str | Sequence[str] | None = None,
        progress: bool = False,
    ) -> Vectors:
        """One vector a text, as ``SentenceTransformer.encode`` of sentence-transformers gives it.

        Args:
            texts: A text, or a list or iterator of texts. Those that are too long are cut.
            prompt: A text to put before each.
            prompt_name: The name of such a text in the bundle's ``config_sentence_transformers.json``; without
                either, its default prompt.
            batch_size: How many texts go through the graph at once, instead of the pipeline's own.
            normalize_embeddings: Whether to scale vectors to length 1, in case the bundle's modules do not.
            truncate_dim: How many values of a vector to keep; by default what the bundle says, or all.
            pooling: One or several modes, e.g. ``"mean"``, in place of the bundle's modules; needed if it has none.
            progress: Whether to count the texts of a list or iterator on standard error. Needs ``tqdm``.

        Returns:
            float32[texts, dimension] in the order of the texts, float32[dimension] for one text.

        Raises:
            BundleError: the bundle's modules are damaged, or not known here.
            ClosedError: the pipeline was closed.
            DependencyError: `progress` without ``tqdm``.
            InputError: an input or option cannot be used, or the bundle does not say how to embed.
        """
        embedding = self.make_embedding(
            prompt=prompt,
            prompt_name=prompt_name,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
            pooling=pooling,
        )
        size = self.check_batch_size(batch_size)
        check_flag("progress", progress)
        texts = as_list(texts)
        cut = CutTexts()
        if isinstance(texts, str):
            request = cut.add(self.encode_texts([texts], embedding.prompt))
            alone: Vectors = self.embed_batch(request.pieces, embedding)[0]
            cut.warn()
            return alone
        if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
            raise InputError(f"expected a text or a list of texts, got {type(texts).__name__} {texts!r:.60}")
        vectors = cut.warn_after(self._vectors(texts, size, embedding, cut))
        if progress:
            vectors = show_progress(vectors, len(texts) if isinstance(texts, Sized) else None)
        rows = list(vectors)
        if not rows:  # the empty text tells how many values a vector has
            return self.embed_batch([self._tokens("", embedding.prompt)], embedding)[:0]
        return np.stack(rows)

    def make_embedding(
        self,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pooling: str | Sequence[str] | None = None,
    ) -> Embedding:
        """How texts are embedded; the arguments and errors are those of :meth:`embed`."""
        config = self.sentence_config
        prompt = config.prompt(prompt, prompt_name)
        return Embedding(
            prompt,
            self._prompt_length(prompt),
            config.modules_for(None if pooling is None else _check_pooling(pooling)),
            config.truncate_dim if truncate_dim is None else check_whole("truncate_dim", truncate_dim, 1),
            normalize_embeddings,
        )

    def _vectors(self, texts: Iterable[Any], size: int, embedding: Embedding, cut: CutTexts) -> Iterator[Vectors]:
        requests = self._encode_all(texts, lambda text: cut.add(self.encode_texts([text], embedding.prompt)))
        for vectors in self._embed(map(list_pieces, chunks(requests, size)), size, embedding):
            yield from vectors

    @cached_property
    def sentence_config(self) -> SentenceConfig:
        """What the bundle says about embedding texts."""
        return read_sentence_config(self.model.directory)

    @cached_property
    def embedding_tokenizer(self) -> Tokenizer:
        """What makes tokens of a text that is to become a vector."""
        return self.tokenizer.with_lower_case() if self.sentence_config.lower_case else self.tokenizer

    @cached_property
    def embedding_limit(self) -> int | None:
        """To how many tokens such a text is cut; None where there is no limit."""
        own = self.sentence_config.max_seq_length
        return min_limit(self.tokenizer.model_max_length if own is None else own, self.model.max_length)

    def encode_texts(self, texts: Sequence[Any], prompt: str) -> Request:
        """Texts on their way through the graph, each a piece."""
        pieces = [self._tokens(text, prompt) for text in texts]
        return Request(pieces, is_cut=any(piece.is_cut for piece in pieces))

    def _tokens(self, text: Any, prompt: str = "") -> BatchEncoding:
        """Token ids and masks of a text after its prompt, cut to what the model was trained for."""
        limit = self.embedding_limit
        return self.embedding_tokenizer(
            prompt + check_text(text),
            truncation=limit is not None,
            max_length=limit,
            return_attention_mask=True,
        )

    def _prompt_length(self, prompt: str) -> int:
        """Tokens of a prompt, less the one that ends a text: ``Transformer._get_prompt_length`` in the reference."""
        ids = self._tokens(prompt)["input_ids"] if prompt else []
        return len(ids) - bool(ids and ids[-1] in self.tokenizer.all_special_ids)

    def _embed(
        self, lists: Iterable[Sequence[Mapping[str, list[int]]]], batch_size: int, embedding: Embedding
    ) -> Iterator[list[Vectors]]:
        """The vector of each piece, float32[dimension], list by list."""
        return self.run_lists(partial(self.embed_batch, embedding=embedding), lists, batch_size)

    def embed_batch(self, pieces: Sequence[Mapping[str, list[int]]], embedding: Embedding) -> Vectors:
        """The vectors of pieces that go through the graph at once, float32[pieces, dimension].

        A text without tokens goes through the graph as padding that no module counts, as in the reference: most
        modules make zeros of it.
        """
        counted = np.array([bool(piece["input_ids"]) for piece in pieces])
        arrays: dict[str, NDArray[Any]] = dict(self._pad_arrays(pieces))
        if not counted.all():
            arrays = {name: np.pad(array, ((0, 0), (0, not array.shape[1]))) for name, array in arrays.items()}
            arrays["attention_mask"][~counted] = 1  # a graph need not take a row of padding alone
        outputs = self.model(**arrays)
        self.check_outputs(outputs, *arrays["input_ids"].shape)
        arrays["attention_mask"][~counted] = 0
        return self._apply_modules(find_hidden_states(outputs), arrays["attention_mask"], embedding)

    def _apply_modules(self, hidden: Vectors, mask: NDArray[np.int64], embedding: Embedding) -> Vectors:
        """What the modules make of hidden states, float32[pieces, tokens, hidden], under a mask, int64[pieces, tokens].

        Returns:
            float32[pieces, dimension].
        """
        features = Features({TOKEN_EMBEDDINGS: hidden}, mask, embedding.prompt_length)
        for module in embedding.modules:
            features = _apply(module, features)
        vectors: Vectors = features[SENTENCE_EMBEDDING][:, : embedding.truncate_dim]
        if not np.isfinite(vectors).all():
            raise not_finite_error(_HIDDEN_STATES[0], self.model.dtype)
        return normalize(vectors) if embedding.normalize else vectors


def _apply(module: Module, features: Features) -> Features:
    try:
        return module(features)
    except ValueError as error:  # numpy's, of sizes that do not fit
        if isinstance(error, EdgepipeError):
            raise
        raise BundleError(
            f"modules.json: {type(module).__name__} does not fit what comes before it ({first_line(error)}); export "
            "the checkpoint again"
        ) from error


def find_hidden_states(arrays: Mapping[str, Vectors]) -> Vectors:
    """The hidden states among a graph's outputs.

    Raises:
        BundleError: there are none.
    """
    for name in _HIDDEN_STATES:
        if name in arrays:
            return arrays[name]
    raise BundleError(f"the graph gives {', '.join(arrays)}, and no {_HIDDEN_STATES[0]}: it has another task's head")


def _check_pooling(pooling: Any) -> tuple[str, ...]:
    modes = (pooling,) if isinstance(pooling, str) else tuple(pooling) if isinstance(pooling, (list, tuple)) else ()
    check_modes(modes)
    return modes
