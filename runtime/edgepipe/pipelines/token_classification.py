"""Token classification: a label for each token, or for each entity made of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import ReferenceOption, check_flag, is_none, is_whole
from edgepipe.bundle.labels import Labels
from edgepipe.errors import InputError
from edgepipe.numerics import softmax
from edgepipe.pipelines.base import Outputs, Request, Result, Task
from edgepipe.pipelines.options import check_options, check_text, min_limit
from edgepipe.pipelines.pipeline_options import CALL_OPTIONS
from edgepipe.pipelines.text_columns import as_list

if TYPE_CHECKING:
    from edgepipe.models.encoder import Model
    from edgepipe.pipelines.task_inputs import TextOrWords
    from edgepipe.pipelines.task_options import CallTokenClassification, Grouping
    from edgepipe.pipelines.task_results import EntityGroup, TokenEntity

Entity = dict[str, Any]
Join = Callable[[list[str]], str]

STRATEGIES = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, slots=True)
class TokenClassificationSettings:
    """Checked options.

    Attributes:
        strategy: One of :data:`STRATEGIES`.
        ignore_labels: Labels (of tokens, or of entities without ``B-``/``I-``) that are left out of the result.
        stride: Tokens that pieces of a long text share; None to cut the text at the limit instead.
        words: Whether inputs are lists of words.
        delimiter: What joins the words for display and offsets.
    """

    strategy: str
    ignore_labels: tuple[str, ...]
    stride: int | None
    words: bool
    delimiter: str


@dataclass(frozen=True, slots=True)
class _Context:
    """The text, where its words start in it (only for inputs of words), and each piece's encoding."""

    text: str
    word_starts: Sequence[int] | None
    encodings: Any


class TokenClassification(Task, Generic[Result]):
    """Entities in texts, as transformers' ``TokenClassificationPipeline`` gives them.

    ::

        ner = pipeline("ner", "path/to/bundle", aggregation_strategy="simple")
        ner("Sarah lives in Rome")
        # [{"entity_group": "PER", "score": 0.99, "word": "Sarah", "start": 0, "end": 5}, ...]

    The options of a call may be given to ``pipeline`` too; then they hold for every call. A text longer than the
    model's limit is truncated, unless a ``stride`` says that it goes through in pieces.
    """

    name = "token-classification"
    has_labels = True
    outputs = ("logits",)
    token_level = True
    reference_options: ClassVar[Mapping[str, ReferenceOption]] = {
        **CALL_OPTIONS,
        "offset_mapping": ReferenceOption(is_none, "the tokenizer knows the offsets; leave it out"),
    }
    model: Model

    @overload
    def __call__(
        self, inputs: str, *, aggregation_strategy: Grouping, **options: Unpack[CallTokenClassification]
    ) -> list[EntityGroup]: ...
    @overload
    def __call__(
        self,
        inputs: list[TextOrWords] | tuple[TextOrWords, ...],
        *,
        aggregation_strategy: Grouping,
        **options: Unpack[CallTokenClassification],
    ) -> list[list[EntityGroup]]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str | Sequence[str]],
        *,
        aggregation_strategy: Grouping,
        **options: Unpack[CallTokenClassification],
    ) -> Iterator[list[EntityGroup]]: ...
    @overload
    def __call__(
        self, inputs: str, *, aggregation_strategy: Literal["none"] | None, **options: Unpack[CallTokenClassification]
    ) -> list[TokenEntity]: ...
    @overload
    def __call__(
        self,
        inputs: list[TextOrWords] | tuple[TextOrWords, ...],
        *,
        aggregation_strategy: Literal["none"] | None,
        **options: Unpack[CallTokenClassification],
    ) -> list[list[TokenEntity]]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str | Sequence[str]],
        *,
        aggregation_strategy: Literal["none"] | None,
        **options: Unpack[CallTokenClassification],
    ) -> Iterator[list[TokenEntity]]: ...
    @overload
    def __call__(self, inputs: str, **options: Unpack[CallTokenClassification]) -> list[Result]: ...
    @overload
    def __call__(
        self, inputs: list[TextOrWords] | tuple[TextOrWords, ...], **options: Unpack[CallTokenClassification]
    ) -> list[list[Result]]: ...
    @overload
    def __call__(
        self, inputs: Iterator[str | Sequence[str]], **options: Unpack[CallTokenClassification]
    ) -> Iterator[list[Result]]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Find entities.

        Args:
            inputs: A text, or a list or iterator of texts; with ``is_split_into_words=True`` a list of words, or a
                list or iterator of those.
            batch_size: How many pieces go through the graph at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: ``aggregation_strategy``: ``"none"`` (the default) gives every token, ``"simple"`` joins
                neighbors of one label, ``"first"``, ``"average"`` and ``"max"`` first make the tokens of a word agree.
                ``ignore_labels``: labels to leave out, by default ``["O"]``.
                ``stride``: how many tokens the pieces of a long text share; without it, a long text is cut.
                ``is_split_into_words``: whether inputs are lists of words.
                ``delimiter``: what joins the words of such a list, by default a blank.

        Returns:
            For each text a list of dicts with ``entity`` (``entity_group`` when aggregated), ``score``, ``index``
            (of the token; only when not aggregated), ``word``, ``start`` and ``end`` (in characters).

        Raises:
            InputError: an input or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        words = self.merge_options(options).get("is_split_into_words", False)
        inputs = as_list(inputs)
        if words and inputs and isinstance(inputs, (list, tuple)) and all(isinstance(word, str) for word in inputs):
            # As in transformers, one list of words comes back as a list with one result.
            inputs = [list(inputs)]
        return self._call(inputs, batch_size=batch_size, progress=progress, **options)

    @property
    def keeps_padding(self) -> bool:
        """A token's index counts the padding before it."""
        return self.tokenizer.padding_side == "left"

    def settings(self, options: Mapping[str, Any]) -> TokenClassificationSettings:
        """Check the options; see :meth:`Task.settings`."""
        known = ("aggregation_strategy", "ignore_labels", "stride", "is_split_into_words", "delimiter")
        check_options(options, known, self.name)
        strategy = options.get("aggregation_strategy")
        strategy = "none" if strategy is None else strategy
        if not isinstance(strategy, str) or strategy.lower() not in STRATEGIES:
            raise InputError(f"aggregation_strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        ignored = options.get("ignore_labels")
        if ignored is None:
            ignored = ["O"]
        if not isinstance(ignored, (list, tuple, set, frozenset)) or not all(
            isinstance(label, str) for label in ignored
        ):
            raise InputError(f"ignore_labels must be a list of labels, got {ignored!r}")
        delimiter = options.get("delimiter")
        if delimiter is not None and not isinstance(delimiter, str):
            raise InputError(f"delimiter must be a text, got {delimiter!r}")
        stride = options.get("stride")
        if stride is not None:
            if options.get("aggregation_strategy") is not None and strategy.lower() == "none":
                raise InputError("stride needs an aggregation_strategy other than 'none', to join what pieces share")
            self._check_stride(stride)
        unnamed = [label for label in self.labels if not isinstance(label, str)]
        if strategy.lower() != "none" and unnamed:
            raise InputError(
                f"aggregation_strategy={strategy!r} joins labels by their prefixes B- and I-, and id2label of "
                f"config.json has {unnamed[0]!r} for one; leave aggregation_strategy out"
            )
        return TokenClassificationSettings(
            strategy.lower(),
            tuple(ignored),
            stride,
            check_flag("is_split_into_words", options.get("is_split_into_words", False)),
            " " if delimiter is None else delimiter,
        )

    def _check_stride(self, stride: Any) -> None:
        if not is_whole(stride):
            raise InputError(f"stride must be a whole number of tokens, got {stride!r}")
        limit = self.text_limit
        if limit is not None and stride >= (room := limit - self.tokenizer.num_special_tokens_to_add()):
            raise InputError(f"stride={stride} must be less than the {room} tokens of text that a piece holds")

    @property
    def text_limit(self) -> int | None:
        """Longest piece in tokens: the smaller of the tokenizer's and the graph's limit."""
        return min_limit(self.tokenizer.model_max_length, self.model.max_length)

    def encode(self, item: Any, settings: TokenClassificationSettings) -> Request:
        """Token ids of one text or list of words, in pieces where `stride` says so."""
        text, starts = item, None
        if settings.words:
            item = as_list(item)
            if not isinstance(item, (list, tuple)) or not all(isinstance(word, str) for word in item):
                raise InputError(f"is_split_into_words=True expects a list of words, got {item!r:.80}")
            text = settings.delimiter.join(item)
            steps = (len(word) + len(settings.delimiter) for word in item)
            starts = [0, *itertools.accumulate(steps)]
        else:
            check_text(
                item, "; for a list of words pass is_split_into_words=True" if isinstance(item, list | tuple) else ""
            )
        limit = self.text_limit
        encoding = self.tokenizer(
            list(item) if settings.words else item,
            is_split_into_words=settings.words,
            truncation=limit is not None,
            max_length=limit,
            stride=settings.stride or 0,
            return_overflowing_tokens=True,
        )
        pieces = self.split_rows(encoding)
        is_cut = settings.stride is None and len(pieces) > 1
        if is_cut:
            del pieces[1:]
        return Request(pieces, _Context(text, starts, encoding.encodings), is_cut)

    def decode(
        self, request: Request, outputs: Sequence[Outputs], settings: TokenClassificationSettings
    ) -> list[dict[str, Any]]:
        """The entities of one text, from ``logits`` float32[tokens, labels] of each piece."""
        found: list[dict[str, Any]] = []
        for number, arrays in enumerate(outputs):
            tokens = self._tokens(request.context, number, softmax(arrays["logits"]))
            found.extend(
                entity
                for entity in self._entities(tokens, settings.strategy)
                if not {entity.get("entity"), entity.get("entity_group")} & set(settings.ignore_labels)
            )
        entities = aggregate_overlapping_entities(found) if len(outputs) > 1 else found
        for entity in entities:
            entity["score"] = entity["score"].item()  # a number of Python's, as JSON takes it
        return entities

    def _tokens(self, context: _Context, number: int, scores: NDArray[np.float32]) -> list[ScoredToken]:
        encoding = context.encodings[number]
        padding = len(scores) - len(encoding.ids)  # before the tokens; what is behind them was left out
        prefixed = bool(self.tokenizer.continuing_subword_prefix)  # byte-level tokenizers have an empty one
        words: Any = self.tokenizer.convert_ids_to_tokens(
            encoding.ids
        )  # encoding.tokens has blanks around special ones
        tokens = []
        for index, special in enumerate(encoding.special_tokens_mask):
            if special:
                continue
            start, end = encoding.offsets[index]
            if context.word_starts is not None and encoding.word_ids[index] is not None:
                shift = context.word_starts[encoding.word_ids[index]]
                start, end = start + shift, end + shift
            word, shown = words[index], context.text[start:end]
            if prefixed:
                is_subword = len(word) != len(shown)
            else:  # the reference's heuristic for tokenizers that do not mark the parts of words
                is_subword = start > 0 and " " not in context.text[start - 1 : start + 1]
            if encoding.ids[index] == self.tokenizer.unk_token_id:
                word, is_subword = shown, False
            place = padding + index
            tokens.append(ScoredToken(word, scores[place], place, start, end, is_subword))
        return tokens

    def _entities(self, tokens: Sequence[ScoredToken], strategy: str) -> list[dict[str, Any]]:
        labels = self.labels_of(len(tokens[0].scores)) if tokens else {}
        join = self.tokenizer.convert_tokens_to_string
        if strategy in ("none", "simple"):
            entities = []
            for token in tokens:
                best = int(token.scores.argmax())
                entities.append(
                    {
                        "entity": labels[best],
                        "score": token.scores[best],
                        "index": token.index,
                        "word": token.word,
                        "start": token.start,
                        "end": token.end,
                    }
                )
        else:
            entities = aggregate_words(tokens, strategy, labels, join)
        return entities if strategy == "none" else group_entities(entities, join)


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token that is part of the text.

    Attributes:
        word: The token as the vocabulary writes it; an unknown one as the text does.
        scores: float32[labels], probabilities.
        index: Its position in the piece, special tokens counted.
        start: First character in the text.
        end: The character behind its last.
        is_subword: Whether it continues the word of the token before it.
    """

    word: str
    scores: NDArray[np.float32]
    index: int
    start: int
    end: int
    is_subword: bool


def aggregate_words(tokens: Sequence[ScoredToken], strategy: str, labels: Labels, join: Join) -> list[Entity]:
    """One label a word, so that the parts of a word cannot disagree.

    Args:
        tokens: In the order of the text.
        strategy: ``"first"`` takes the first token's scores, ``"max"`` those of the token that is surest,
            ``"average"`` the mean over the tokens.
        labels: By the places of their scores.
        join: Makes a text of tokens.
    """
    words: list[list[ScoredToken]] = []
    for token in tokens:
        if words and token.is_subword:
            words[-1].append(token)
        else:
            words.append([token])
    return [aggregate_word(word, strategy, labels, join) for word in words]


def aggregate_word(tokens: Sequence[ScoredToken], strategy: str, labels: Labels, join: Join) -> Entity:
    """One entity of the tokens of a word, by the strategy."""
    if strategy == "first":
        scores = tokens[0].scores
    elif strategy == "max":
        scores = max(tokens, key=lambda token: token.scores.max()).scores
    else:
        scores = np.nanmean(np.stack([token.scores for token in tokens]), axis=0)
    best = int(scores.argmax())
    return {
        "entity": labels[best],
        "score": scores[best],
        "word": join([token.word for token in tokens]),
        "start": tokens[0].start,
        "end": tokens[-1].end,
    }


def group_entities(entities: Sequence[Entity], join: Join) -> list[Entity]:
    """Neighbors of one label become one entity; ``B-`` starts a new one. Labels without a prefix count as ``I-``."""
    groups: list[list[Entity]] = []
    for entity in entities:
        begins, tag = _tag(entity["entity"])
        if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(entity)
        else:
            groups.append([entity])
    return [
        {
            "entity_group": group[0]["entity"].split("-", 1)[-1],
            "score": np.nanmean([entity["score"] for entity in group]),
            "word": join([entity["word"] for entity in group]),
            "start": group[0]["start"],
            "end": group[-1]["end"],
        }
        for group in groups
    ]


def aggregate_overlapping_entities(entities: Sequence[Entity]) -> list[Entity]:
    """Of entities that overlap, as pieces of a text with a stride give them, the longest; of equals the surest."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
        elif _rank(entity) > _rank(kept[-1]):
            kept[-1] = entity
    return kept


def _rank(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and its name without ``B-`` or ``I-``."""
    if label.startswith(("B-", "I-")):
        return label.startswith("B-"), label[2:]
    return False, label
