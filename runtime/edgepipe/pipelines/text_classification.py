"""Text classification: one label, or several, for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import is_whole
from edgepipe.bundle.labels import read_labels
from edgepipe.errors import InputError
from edgepipe.numerics import identity, sigmoid, softmax
from edgepipe.pipelines.base import Outputs, Request, Task
from edgepipe.pipelines.options import build_tokenizer_options

Scores = NDArray[np.float32]


FUNCTIONS: dict[str, Callable[[Scores], Scores]] = {"sigmoid": sigmoid, "softmax": softmax, "none": identity}


@dataclass(frozen=True, slots=True)
class TextClassificationSettings:
    """Checked options.

    Attributes:
        tokenizer: Keyword arguments for the tokenizer.
        function: Turns logits into scores.
        top_k: How many labels to return; None for all.
        ranked: Whether `top_k` was given: then a list of labels comes back, best first, even for one.
    """

    tokenizer: Mapping[str, Any]
    function: Callable[[Scores], Scores]
    top_k: int | None
    ranked: bool


class TextClassification(Task):
    """Labels and scores for texts, as transformers' ``TextClassificationPipeline`` gives them.

    Options: ``top_k`` (how many labels; None for all), ``function_to_apply`` (``"sigmoid"``, ``"softmax"``,
    ``"none"``; chosen from the config when not given) and the tokenizer's keyword arguments.

    A text longer than the model's limit is truncated, where transformers raises.
    """

    name = "text-classification"
    has_labels = True
    outputs = ("logits",)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Classify texts.

        Args:
            inputs: A text; a dict with ``"text"`` and ``"text_pair"``; a list or an iterator of either.
            batch_size: How many inputs go through the graph at once.
            **options: See the class.

        Returns:
            For one text ``[{"label": str, "score": float}]``, for a dict ``{"label": ..., "score": ...}``, for a list
            a list of those dicts. With `top_k`, each is a list of dicts instead, best first.
        """
        result = super().__call__(inputs, batch_size=batch_size, **options)
        # transformers wraps the result of one string, and only where top_k is not part of this call.
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def settings(self, options: Mapping[str, Any]) -> TextClassificationSettings:
        """Check the options; see :meth:`Task.settings`."""
        remaining = dict(options)
        ranked = "top_k" in remaining
        top_k = remaining.pop("top_k", 1)
        if top_k is not None and not is_whole(top_k, 1):
            raise InputError(f"top_k must be a whole number of at least 1, or None for all labels, got {top_k!r}")
        name = remaining.pop("function_to_apply", None)
        if name is None:
            name = default_function(self.model.config)
        if not isinstance(name, str) or name.lower() not in FUNCTIONS:
            raise InputError(f"function_to_apply must be one of {', '.join(FUNCTIONS)}, got {name!r}")
        own = ("top_k", "function_to_apply")
        tokenizer = build_tokenizer_options(remaining, self.tokenizer, self.model.max_length, self.name, own)
        return TextClassificationSettings(tokenizer, FUNCTIONS[name.lower()], top_k, ranked)

    def encode(self, item: Any, settings: TextClassificationSettings) -> Request:
        """Token ids of one text or pair."""
        text, pair = _text_and_pair(item)
        return Request([self.tokenizer(text, pair, **settings.tokenizer)])

    def decode(self, request: Request, outputs: Sequence[Outputs], settings: TextClassificationSettings) -> Any:
        """The labels of one row of ``logits``, float32[labels]."""
        scores = settings.function(outputs[0]["logits"])
        labels = self.labels_of(len(scores))
        if not settings.ranked:
            best = int(scores.argmax())
            return {"label": labels[best], "score": scores[best].item()}
        # A stable sort of the negated scores keeps labels of equal score in the config's order, as the reference does.
        order = np.argsort(-scores, kind="stable")[: settings.top_k]
        return [{"label": labels[index], "score": scores[index].item()} for index in order]


def default_function(config: Mapping[str, Any]) -> str:
    """The function that transformers applies to the logits for a config, by problem type and number of labels."""
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    if problem == "multi_label_classification" or len(read_labels(config)) == 1:
        return "sigmoid"
    return "softmax"


def _text_and_pair(item: Any) -> tuple[str, str | None]:
    if isinstance(item, str):
        return item, None
    if isinstance(item, Mapping):
        unknown = sorted(str(key) for key in item if key not in ("text", "text_pair"))
        if unknown or "text" not in item:
            got = ", ".join(map(repr, item)) or "none"
            raise InputError(f'a dict input has the keys "text" and, for a pair, "text_pair"; got {got}')
        text, pair = item["text"], item.get("text_pair")
        if isinstance(text, str) and (pair is None or isinstance(pair, str)):
            return text, pair
    elif isinstance(item, list) and len(item) == 1 and isinstance(item[0], list) and len(item[0]) == 2:
        text, pair = item[0]  # the form for pairs that transformers keeps for backward compatibility
        if isinstance(text, str) and isinstance(pair, str):
            return text, pair
    elif isinstance(item, list):
        raise InputError('a list is not an input; for a pair of texts pass {"text": "...", "text_pair": "..."}')
    raise InputError(f'expected a text, or a dict {{"text": ..., "text_pair": ...}}, got {_shown(item)}')


def _shown(item: Any) -> str:
    text = repr(item)
    return f"{type(item).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
