"""Extractive question answering: the span of a context that answers a question."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import check_flag, check_whole
from edgepipe.errors import InputError
from edgepipe.numerics import softmax
from edgepipe.pipelines.base import Outputs, Request, Result, Task
from edgepipe.pipelines.options import check_options
from edgepipe.pipelines.text_columns import as_list
from edgepipe.tokenization.batch_encoding import BatchEncoding

if TYPE_CHECKING:
    from edgepipe.models.encoder import Model
    from edgepipe.pipelines.task_inputs import AnyQuestion, Question
    from edgepipe.pipelines.task_options import CallQuestionAnswering
    from edgepipe.pipelines.task_results import QuestionAnsweringResult

    # One answer where only one is found.
    Answers = QuestionAnsweringResult | list[QuestionAnsweringResult]

_MASKED = np.float32(-10_000.0)
_COUNTS = {"top_k": 1, "topk": 1, "max_answer_len": 1, "max_seq_len": 1, "max_question_len": 1, "doc_stride": 0}
_FLAGS = ("handle_impossible_answer", "align_to_words")


@dataclass(frozen=True, slots=True)
class QuestionAnsweringSettings:
    """Checked options.

    Attributes:
        top_k: How many answers to return.
        doc_stride: Tokens that pieces of a long context share; None for half a piece, 128 at most.
        max_answer_len: Longest answer, in tokens.
        max_seq_len: Longest piece with its question, in tokens; None for the model's limit, 384 at most.
        handle_impossible_answer: Whether "no answer" may win.
        align_to_words: Whether answers are widened to whole words.
        padding: The tokenizer's argument: whether each piece is padded, and how far.
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    padding: bool | str = False


class QuestionAnswering(Task, Generic[Result]):
    """Answers from a context, as the ``QuestionAnsweringPipeline`` of transformers 4.57 gives them.

    ::

        answer = pipeline("question-answering", "path/to/bundle")
        answer(question="Where does Sarah live?", context="Sarah lives in Rome.")
        # {"score": 0.98, "start": 15, "end": 19, "answer": "Rome"}

    The options of a call may be given to ``pipeline`` too; then they hold for every call. A long context goes through
    in overlapping pieces.
    """

    name = "question-answering"
    outputs = ("start_logits", "end_logits")
    json_example = '{"question": "...", "context": "..."}'
    token_level = True
    scores_per_label = False
    token_types = True  # as in transformers 4, the reference
    model: Model

    @overload
    def __call__(
        self, question: str, context: str, /, *, top_k: int, **options: Unpack[CallQuestionAnswering]
    ) -> Answers: ...
    @overload
    def __call__(
        self, *, question: str, context: str, top_k: int, **options: Unpack[CallQuestionAnswering]
    ) -> Answers: ...
    @overload
    def __call__(self, inputs: AnyQuestion, /, *, top_k: int, **options: Unpack[CallQuestionAnswering]) -> Answers: ...
    @overload
    def __call__(
        self,
        inputs: list[Question] | tuple[Question, ...],
        /,
        *,
        top_k: int,
        **options: Unpack[CallQuestionAnswering],
    ) -> Answers | list[Answers]: ...
    @overload
    def __call__(
        self, inputs: Iterator[AnyQuestion], /, *, top_k: int, **options: Unpack[CallQuestionAnswering]
    ) -> Iterator[Answers]: ...
    @overload
    def __call__(self, question: str, context: str, /, **options: Unpack[CallQuestionAnswering]) -> Result: ...
    @overload
    def __call__(self, *, question: str, context: str, **options: Unpack[CallQuestionAnswering]) -> Result: ...
    @overload
    def __call__(
        self, *, question: list[str], context: str | list[str], **options: Unpack[CallQuestionAnswering]
    ) -> Result | list[Result]: ...
    @overload
    def __call__(self, inputs: AnyQuestion, /, **options: Unpack[CallQuestionAnswering]) -> Result: ...
    @overload
    def __call__(
        self, inputs: list[Question] | tuple[Question, ...], /, **options: Unpack[CallQuestionAnswering]
    ) -> Result | list[Result]: ...
    @overload
    def __call__(
        self, inputs: Iterator[AnyQuestion], /, **options: Unpack[CallQuestionAnswering]
    ) -> Iterator[Result]: ...
    def __call__(
        self,
        *inputs: Any,
        question: Any = None,
        context: Any = None,
        batch_size: int | None = None,
        progress: bool = False,
        **options: Any,
    ) -> Any:
        """Answer questions.

        Args:
            *inputs: A dict with ``"question"`` and ``"context"``, or a list or iterator of them; or a question and
                its context.
            question: A question, or a list of them.
            context: The context of all questions, or a list with one for each.
            batch_size: How many pieces go through the graph at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: ``top_k``: how many answers to give at most, by default 1.
                ``max_answer_len``: the longest answer in tokens, by default 15.
                ``max_seq_len``: the longest piece with its question in tokens; by default the model's limit, 384 at
                most.
                ``doc_stride``: how many tokens the pieces of a long context share; by default half a piece, 128 at
                most.
                ``handle_impossible_answer``: whether "no answer" may win, as an empty text. By default it may not.
                ``align_to_words``: whether answers are widened to whole words, as they are by default.
                ``padding``: as the tokenizer takes it, by default ``False``; ``"max_length"`` pads to ``max_seq_len``,
                which costs time, and changes where a model looks at padding.
                ``max_question_len``: changes nothing, as in the reference with fast tokenizers.
                ``topk``, ``X``, ``data``: old names of ``top_k`` and of the inputs.

        Returns:
            For each question ``{"score": float, "start": int, "end": int, "answer": str}`` (characters of the
            context), or a list of them, the best first, where there are several. A list of one question gives that
            question's result; pass an iterator to have the results of a list that may have one.

        Raises:
            InputError: an input or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        for name in ("X", "data"):
            if not inputs and name in options:
                warnings.warn(f"{name}= is deprecated; pass the questions as a list of dicts", stacklevel=2)
                inputs = (options.pop(name),)
        if len(inputs) > 2:
            raise InputError(f"one question has one context, got {len(inputs)} inputs; pass several as a list of dicts")
        asked, second = (*inputs, None, None)[:2]
        positional = asked is not None or second is not None
        if positional and (question is not None or context is not None):
            raise InputError("give either question= and context=, or a dict or list of dicts")
        if second is not None:
            asked = {"question": asked, "context": second}
        elif not positional:
            asked = _pair(question, context)
        asked = as_list(asked)
        if isinstance(asked, (list, tuple)) and len(asked) == 1:
            asked = asked[0]
        return self._call(asked, batch_size=batch_size, progress=progress, **options)

    def settings(self, options: Mapping[str, Any]) -> QuestionAnsweringSettings:
        """Check the options; see :meth:`Task.settings`."""
        check_options(options, [*_COUNTS, *_FLAGS, "padding"], self.name)
        given = {name: value for name, value in options.items() if value is not None}
        for name, least in _COUNTS.items():
            check_whole(name, given.get(name, least), least)
        for name in given.keys() & set(_FLAGS):
            check_flag(name, given[name])
        given.pop("max_question_len", None)
        given.setdefault("top_k", given.pop("topk", 1))
        settings = QuestionAnsweringSettings(**given)
        length, stride = self._lengths(settings)
        if stride >= length:
            raise InputError(f"doc_stride={stride} must be less than max_seq_len={length}")
        return settings

    def _lengths(self, settings: QuestionAnsweringSettings) -> tuple[int, int]:
        """Longest piece and shared tokens."""
        limits = [settings.max_seq_len or 384, self.model.max_length]
        if settings.max_seq_len is None:
            limits.append(self.tokenizer.model_max_length)
        length = min(limit for limit in limits if limit is not None)
        return length, min(length // 2, 128) if settings.doc_stride is None else settings.doc_stride

    @property
    def _question_first(self) -> bool:
        return bool(self.tokenizer.padding_side == "right")

    def encode(self, item: Any, settings: QuestionAnsweringSettings) -> Request:
        """Token ids of the question with each piece of its context."""
        question, context = _question_and_context(item)
        length, stride = self._lengths(settings)
        texts = (question, context) if self._question_first else (context, question)
        try:
            encoding = self.tokenizer(
                *texts,
                padding=settings.padding,
                truncation="only_second" if self._question_first else "only_first",
                max_length=length,
                stride=stride,
                return_overflowing_tokens=True,
            )
        except InputError as error:
            self._check_question(question, length, stride, error)
            raise
        return Request(self.split_rows(encoding), (context, encoding))

    def _check_question(self, question: str, length: int, stride: int, error: InputError) -> None:
        """Replace an error where the question is too long.

        Raises:
            InputError: the question leaves too little room for the context.
        """
        tokens = len(self.tokenizer(question, add_special_tokens=False)["input_ids"])
        room = max(length - self.tokenizer.num_special_tokens_to_add(pair=True) - tokens, 0)
        if room <= stride:
            raise InputError(
                f"the question is too long: its {tokens} tokens leave {room} of max_seq_len={length} for the context, "
                f"which must be more than doc_stride={stride}; shorten it, or pass a smaller doc_stride or a larger "
                "max_seq_len"
            ) from error

    def decode(self, request: Request, outputs: Sequence[Outputs], settings: QuestionAnsweringSettings) -> Answers:
        """The answers to one question, from ``start_logits`` and ``end_logits``, float32[tokens], of each piece."""
        context, encoding = request.context
        answers: dict[str, QuestionAnsweringResult] = {}
        null_score = 1_000_000.0
        # Some spans become the same answer once they are widened to words, hence more of them.
        count = settings.top_k * 2 + 10 if settings.align_to_words else settings.top_k
        for row, arrays in enumerate(outputs):
            allowed = self._allowed(encoding, row)
            spans, piece_null = decode_spans(
                arrays["start_logits"], arrays["end_logits"], allowed, count, settings.max_answer_len
            )
            null_score = min(null_score, piece_null)
            for first, last, score in spans:
                start, end = self._characters(encoding.encodings[row], first, last, settings.align_to_words)
                answer = context[start:end]
                # Answers that differ in case alone count as one, with the scores of all.
                if answer.lower() in answers:
                    answers[answer.lower()]["score"] += score
                else:
                    answers[answer.lower()] = {"score": score, "start": start, "end": end, "answer": answer}
        ranked = list(answers.values())
        if settings.handle_impossible_answer:
            ranked.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
        ranked = sorted(ranked, key=lambda answer: -answer["score"])[: settings.top_k]
        return ranked[0] if len(ranked) == 1 else ranked

    def _allowed(self, encoding: BatchEncoding, row: int) -> NDArray[np.bool_]:
        """bool[tokens]: the context's tokens, and the classification token, which stands for "no answer"."""
        ids = np.array(encoding["input_ids"][row])
        masks = encoding.get("attention_mask")
        counted: NDArray[np.bool_] = np.ones(len(ids), bool) if masks is None else np.array(masks[row], bool)
        if not self._question_first:
            return counted  # the reference masks nothing else where padding is on the left
        of_context = np.array([sequence == 1 for sequence in encoding.sequence_ids(row)])
        cls = self.tokenizer.cls_token_id
        counted &= of_context if cls is None else of_context | (ids == cls)
        return counted

    def _characters(self, piece: Any, first: int, last: int, align_to_words: bool) -> tuple[int, int]:
        if align_to_words:
            sequence = 1 if self._question_first else 0
            words = piece.token_to_word(first), piece.token_to_word(last)
            if None not in words:
                spans = [piece.word_to_chars(word, sequence) for word in words]
                if None not in spans:
                    return spans[0][0], spans[1][1]
        return piece.offsets[first][0], piece.offsets[last][1]


def _pair(question: Any, context: Any) -> Any:
    question, context = as_list(question), as_list(context)
    if question is None or context is None:
        raise InputError("question answering takes question= and context=, or a dict with both")
    if isinstance(question, (list, tuple)):
        contexts = [context] * len(question) if isinstance(context, str) else context
        if not isinstance(contexts, (list, tuple)) or len(contexts) != len(question):
            raise InputError(f"{len(question)} questions need one context, or as many, got {context!r:.60}")
        return [{"question": one, "context": other} for one, other in zip(question, contexts, strict=True)]
    return {"question": question, "context": context}


def _question_and_context(item: Any) -> tuple[str, str]:
    if not isinstance(item, Mapping) or set(item) != {"question", "context"}:
        raise InputError(f'expected a dict with "question" and "context", got {item!r:.80}')
    for name, text in item.items():
        if not isinstance(text, str):
            raise InputError(f"{name} must be a text, got {type(text).__name__} {text!r:.60}")
        if not text:
            raise InputError(f"{name} is empty: give a text")
    return item["question"], item["context"]


def decode_spans(
    start_logits: NDArray[np.float32],
    end_logits: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    count: int,
    max_answer_len: int,
) -> tuple[list[tuple[int, int, float]], float]:
    """Spans by the product of their start's and end's probability.

    Source: ``select_starts_ends`` and ``decode_spans`` of transformers 4.57's question answering, where the first
    token (the classification token) stands for "no answer" and is never part of a span.

    Args:
        start_logits: float32[tokens].
        end_logits: float32[tokens].
        allowed: bool[tokens], the tokens that may be in an answer.
        count: How many spans to look at, best first; those that start or end on a token that is not allowed are then
            left out.
        max_answer_len: Longest span, in tokens.

    Returns:
        The spans as (first token, last token, score), and the score of "no answer".
    """
    start, end = (softmax(np.where(allowed, logits, _MASKED)) for logits in (start_logits, end_logits))
    null_score = (start[0] * end[0]).item()
    start[0] = end[0] = 0.0
    scores = np.tril(np.triu(np.outer(start, end)), min(max_answer_len, len(start)) - 1)
    flat = scores.ravel()
    if count == 1:
        order = np.array([flat.argmax()])
    elif len(flat) <= count:
        order = np.argsort(-flat)
    else:
        chosen = np.argpartition(-flat, count)[:count]
        order = chosen[np.argsort(-flat[chosen])]
    firsts, lasts = np.unravel_index(order, scores.shape)
    spans = [
        (int(first), int(last), scores[first, last].item())
        for first, last in zip(firsts, lasts, strict=True)
        if allowed[first] and allowed[last]
    ]
    return spans, null_score
