"""Text classification: one label, or several, for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import is_whole
from edgepipe.bundle.labels import read_labels
from edgepipe.caller_warnings import warn
from edgepipe.errors import InputError
from edgepipe.numerics import identity, sigmoid, softmax
from edgepipe.pipelines.base import Outputs, Request, Result, Task
from edgepipe.pipelines.options import build_tokenizer_options, get_flag

if TYPE_CHECKING:
    from edgepipe.models.encoder import Model
    from edgepipe.pipelines.task_inputs import AnyPair, TextOrPair
    from edgepipe.pipelines.task_options import CallTextClassification
    from edgepipe.pipelines.task_results import TextClassificationResult

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


class TextClassification(Task, Generic[Result]):
    """Labels and scores for texts, as transformers' ``TextClassificationPipeline`` gives them.

    ::

        classify = pipeline("text-classification", "path/to/bundle")
        classify("I love this")  # [{"label": "POSITIVE", "score": 0.99}]
        classify(["I love this", "What a waste"], top_k=None)  # every label of each text, the best first

    The options of a call may be given to ``pipeline`` too; then they hold for every call. A text longer than the
    model's limit is truncated, where transformers raises.
    """

    name = "text-classification"
    has_labels = True
    outputs = ("logits",)
    model: Model

    @overload
    def __call__(
        self, inputs: str | AnyPair, *, top_k: int | None, **options: Unpack[CallTextClassification]
    ) -> list[TextClassificationResult]: ...
    @overload
    def __call__(
        self,
        inputs: list[TextOrPair] | tuple[TextOrPair, ...],
        *,
        top_k: int | None,
        **options: Unpack[CallTextClassification],
    ) -> list[list[TextClassificationResult]]: ...
    @overload
    def __call__(
        self, inputs: Iterator[str | AnyPair], *, top_k: int | None, **options: Unpack[CallTextClassification]
    ) -> Iterator[list[TextClassificationResult]]: ...
    @overload
    def __call__(self, inputs: str, **options: Unpack[CallTextClassification]) -> list[Result]: ...
    @overload
    def __call__(self, inputs: AnyPair, **options: Unpack[CallTextClassification]) -> Result: ...
    @overload
    def __call__(
        self, inputs: list[TextOrPair] | tuple[TextOrPair, ...], **options: Unpack[CallTextClassification]
    ) -> list[Result]: ...
    @overload
    def __call__(
        self, inputs: Iterator[str | AnyPair], **options: Unpack[CallTextClassification]
    ) -> Iterator[Result]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Classify texts.

        Args:
            inputs: A text; a dict with ``"text"`` and ``"text_pair"``; a list or an iterator of either.
            batch_size: How many inputs go through the graph at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: ``top_k``: how many labels to give, the best first; None for all. Without it, the best one.
                ``function_to_apply``: ``"sigmoid"``, ``"softmax"`` or ``"none"``, what makes scores of logits; by
                default what the config asks for. All others go to the tokenizer, e.g. ``truncation``, ``max_length``.

        Returns:
            For one text ``[{"label": str, "score": float}]``, for a dict ``{"label": ..., "score": ...}``, for a list
            a list of those dicts, for an iterator an iterator of them. With `top_k`, each is a list of dicts instead.

        Raises:
            InputError: an input or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        result = self._call(inputs, batch_size=batch_size, progress=progress, **options)
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
        if get_flag(remaining, "return_all_scores", False):
            warn("return_all_scores=True changes nothing, as in transformers 5; pass top_k=None for all labels")
        remaining.pop("return_all_scores", None)
        own = ("top_k", "function_to_apply", "return_all_scores")
        tokenizer = build_tokenizer_options(remaining, self.tokenizer, self.model.max_length, self.name, own)
        return TextClassificationSettings(tokenizer, FUNCTIONS[name.lower()], top_k, ranked)

    def encode(self, item: Any, settings: TextClassificationSettings) -> Request:
        """Token ids of one text or pair."""
        text, pair = _text_and_pair(item)
        encoding = self.tokenizer(text, pair, **settings.tokenizer)
        return Request([encoding], is_cut=encoding.is_cut)

    def decode(
        self, request: Request, outputs: Sequence[Outputs], settings: TextClassificationSettings
    ) -> TextClassificationResult | list[TextClassificationResult]:
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
