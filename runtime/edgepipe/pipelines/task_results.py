"""What pipelines give, as types: the keys of their results and what each of them holds.

Only type checkers and editors need this module; nothing imports it when a program runs. Annotate with it::

    from edgepipe.pipelines.task_results import TextClassificationResult

    def keep(results: list[TextClassificationResult]) -> list[str]:
        return [result["label"] for result in results if result["score"] > 0.9]

What a type checker cannot know is typed as the usual case, as in transformers: labels are texts, a text for fill-mask
has one mask, and an encoder-decoder writes one text for each.
"""

from __future__ import annotations

from typing import TypedDict

from edgepipe.pipelines.task_inputs import ChatMessage

# feature-extraction: float[1][tokens][hidden].
HiddenStates = list[list[list[float]]]


class TextClassificationResult(TypedDict):
    """text-classification: a label and its score."""

    label: str
    score: float


class TokenEntity(TypedDict):
    """token-classification without an aggregation strategy: a token and its label."""

    entity: str
    score: float
    index: int
    word: str
    start: int
    end: int


class EntityGroup(TypedDict):
    """token-classification with an aggregation strategy: neighboring tokens of one label."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class QuestionAnsweringResult(TypedDict):
    """question-answering: a span of the context, in characters."""

    score: float
    start: int
    end: int
    answer: str


class FillMaskResult(TypedDict):
    """fill-mask: a token in the place of a mask."""

    score: float
    token: int
    token_str: str
    sequence: str


class ZeroShotClassificationResult(TypedDict):
    """zero-shot-classification: a text, and the labels with their scores, the best first."""

    sequence: str
    labels: list[str]
    scores: list[float]


class TextGenerationResult(TypedDict):
    """text-generation and text2text-generation: a text."""

    generated_text: str


class ChatGenerationResult(TypedDict):
    """text-generation for a chat: the messages that were given, and the answer as one more."""

    generated_text: list[ChatMessage]


class GeneratedTokenIds(TypedDict):
    """text-generation and text2text-generation with ``return_tensors=True``."""

    generated_token_ids: list[int]


class SummarizationResult(TypedDict):
    """summarization: a summary."""

    summary_text: str


class SummaryTokenIds(TypedDict):
    """summarization with ``return_tensors=True``."""

    summary_token_ids: list[int]


class TranslationResult(TypedDict):
    """translation: a translation."""

    translation_text: str


class TranslationTokenIds(TypedDict):
    """translation with ``return_tensors=True``."""

    translation_token_ids: list[int]
