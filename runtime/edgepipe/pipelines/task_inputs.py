"""What pipelines take, as types. Only type checkers and editors need this module; see ``task_results``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, TypeVar


class TextPair(TypedDict):
    """text-classification: a text and, for models of pairs, a second one."""

    text: str
    text_pair: NotRequired[str | None]


class QuestionInContext(TypedDict):
    """question-answering: a question and the text that answers it."""

    question: str
    context: str


class SentencesToCompare(TypedDict):
    """sentence-similarity: a sentence and those to compare with it."""

    source_sentence: str
    sentences: Sequence[str]


class ChatMessage(TypedDict):
    """text-generation: a message of a chat. Templates may know further keys."""

    role: str
    content: str


# A dict that a program built on its way has no more type than these.
AnyPair = TextPair | Mapping[str, str | None]
AnyQuestion = QuestionInContext | Mapping[str, str]
AnyComparison = SentencesToCompare | Mapping[str, Sequence[str]]
AnyChat = Sequence[ChatMessage] | Sequence[Mapping[str, Any]]
# Messages that are iterated over are one chat too.
Chat = AnyChat | Iterator[ChatMessage] | Iterator[Mapping[str, Any]]

# What the items of a list are: a list of texts is not a list of texts or pairs, but one of these.
TextOrPair = TypeVar("TextOrPair", bound=str | AnyPair)
TextOrWords = TypeVar("TextOrWords", bound=str | Sequence[str])
Question = TypeVar("Question", bound=AnyQuestion)
Comparison = TypeVar("Comparison", bound=AnyComparison)
ChatItem = TypeVar("ChatItem", bound=AnyChat)
