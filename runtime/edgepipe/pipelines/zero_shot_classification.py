"""Zero-shot classification: labels named at the call, each posed as a hypothesis about the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from edgepipe.arguments import check_flag
from edgepipe.bundle.labels import read_label_ids
from edgepipe.errors import InputError, TaskError
from edgepipe.numerics import softmax
from edgepipe.pipelines.base import Outputs, Request, Task
from edgepipe.pipelines.options import check_options, min_limit
from edgepipe.pipelines.text_columns import as_list

if TYPE_CHECKING:
    from edgepipe.models.encoder import Model
    from edgepipe.pipelines.task_options import CallZeroShotClassification
    from edgepipe.pipelines.task_results import ZeroShotClassificationResult

_TEMPLATE = "This example is {}."


@dataclass(frozen=True, slots=True)
class ZeroShotSettings:
    """Checked options.

    Attributes:
        labels: The labels to choose among.
        template: Makes a hypothesis of a label.
        multi_label: Whether several labels can be true: each is then scored on its own.
    """

    labels: tuple[str, ...]
    template: str
    multi_label: bool


class ZeroShotClassification(Task):
    """Any labels, on a model trained for natural language inference, as transformers' pipeline gives them.

    ::

        classify = pipeline("zero-shot-classification", "path/to/bundle")
        classify("I have a problem with my phone", ["electronics", "food"])
        # {"sequence": "I have a problem ...", "labels": ["electronics", "food"], "scores": [0.97, 0.03]}

    The options of a call may be given to ``pipeline`` too; then they hold for every call. All labels of a text go
    through the graph as one batch. A text that is too long is cut, its labels never.
    """

    name = "zero-shot-classification"
    outputs = ("logits",)
    model: Model

    @overload
    def __call__(
        self,
        inputs: str,
        candidate_labels: str | Sequence[str] | None = ...,
        **options: Unpack[CallZeroShotClassification],
    ) -> ZeroShotClassificationResult: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        candidate_labels: str | Sequence[str] | None = ...,
        **options: Unpack[CallZeroShotClassification],
    ) -> list[ZeroShotClassificationResult]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str],
        candidate_labels: str | Sequence[str] | None = ...,
        **options: Unpack[CallZeroShotClassification],
    ) -> Iterator[ZeroShotClassificationResult]: ...
    def __call__(
        self,
        inputs: Any,
        candidate_labels: Any = None,
        *,
        batch_size: int | None = None,
        progress: bool = False,
        **options: Any,
    ) -> Any:
        """Classify texts.

        Args:
            inputs: A text, or a list or iterator of texts.
            candidate_labels: The labels: a list, or a text with commas.
            batch_size: How many pairs of text and label go through the graph at once, at least all of one text unless
                the model reads padding.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: ``hypothesis_template``: what is said of a text, with ``{}`` for the label; by default "This
                example is {}.".
                ``multi_label``: whether several labels can be true. Each then has a score of its own; otherwise the
                scores of all labels add up to 1.

        Returns:
            For each text ``{"sequence": str, "labels": [str], "scores": [float]}``, the best label first.

        Raises:
            InputError: an input or an option cannot be used, or there are no labels.
            ClosedError: the pipeline was closed.
        """
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        labels = self.settings(self.merge_options(options)).labels
        if not labels:
            raise InputError('no labels: pass candidate_labels, e.g. ["politics", "sports"]')
        size = self.check_batch_size(batch_size)
        if not self.reads_padding:  # else each label's result depends on those that it is padded with
            size = max(len(labels), size)
        return self._call(inputs, batch_size=size, progress=progress, **options)

    def settings(self, options: Mapping[str, Any]) -> ZeroShotSettings:
        """Check the options; see :meth:`Task.settings`. Labels may be missing here: they come with the call."""
        check_options(options, ("candidate_labels", "hypothesis_template", "multi_label"), self.name)
        self.entailment_id  # noqa: B018 - a checkpoint that cannot do the task is reported at once
        given = options.get("candidate_labels")
        given = () if given is None else as_list(given)
        labels = [label.strip() for label in given.split(",") if label.strip()] if isinstance(given, str) else given
        if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) and label for label in labels):
            raise InputError(f"candidate_labels must be a list of texts, or one text with commas, got {given!r}")
        template = options.get("hypothesis_template", _TEMPLATE)
        try:
            usable = isinstance(template, str) and template.format("label") != template
        except (AttributeError, IndexError, KeyError, ValueError):
            usable = False
        if not usable:
            raise InputError(f"hypothesis_template must have one {{}} for the label, got {template!r}")
        return ZeroShotSettings(tuple(labels), template, check_flag("multi_label", options.get("multi_label", False)))

    @cached_property
    def entailment_id(self) -> int:
        """The place of the logit that says the hypothesis follows: ``label2id`` decides, as in transformers.

        Raises:
            TaskError: no label's name starts with "entail", or there is no logit in its place.
        """
        places = read_label_ids(self.model.config)
        place = next((place for label, place in places.items() if label.lower().startswith("entail")), None)
        if place is None:
            raise TaskError(
                f"zero-shot-classification needs a label that starts with 'entail', the model has {', '.join(places)}; "
                "use a checkpoint trained on natural language inference, or name its labels in label2id of config.json"
            )
        logits = self.model.output_shapes.get("logits", (None,))[-1]
        if place < 0 or (isinstance(logits, int) and place >= logits):
            raise TaskError(
                f"label2id of config.json says that logit {place} is entailment, and the model gives {logits} logits, "
                "numbered from 0; correct it in the checkpoint's config.json, and export it again"
            )
        return place

    def encode(self, item: Any, settings: ZeroShotSettings) -> Request:
        """Token ids of one text with each label; a text that is too long is cut, the hypotheses never."""
        if not isinstance(item, str) or not item:
            raise InputError(f"expected a text that is not empty, got {type(item).__name__} {item!r:.60}")
        limit = min_limit(self.tokenizer.model_max_length, self.model.max_length)
        pieces = []
        for label in settings.labels:
            hypothesis = settings.template.format(label)
            encoding = self.tokenizer(item, hypothesis)
            if limit is not None and (excess := len(encoding["input_ids"]) - limit) > 0:
                if excess >= encoding.sequence_ids().count(0):
                    raise InputError(
                        f"the label {label!r:.60} leaves no room for the text: model and tokenizer take {limit} tokens "
                        f"of text, hypothesis and special tokens together"
                    )
                encoding = self.tokenizer(item, hypothesis, truncation="only_first", max_length=limit)
            pieces.append(encoding)
        return Request(pieces, item, any(piece.is_cut for piece in pieces))

    def decode(
        self, request: Request, outputs: Sequence[Outputs], settings: ZeroShotSettings
    ) -> ZeroShotClassificationResult:
        """The labels of one text, from ``logits`` float32[3] (or as many labels as the model has) of each pair."""
        logits = np.stack([arrays["logits"] for arrays in outputs])
        entailment = self.entailment_id
        if settings.multi_label or len(settings.labels) == 1:
            contradiction = -1 if entailment == 0 else 0
            scores = softmax(logits[:, [contradiction, entailment]])[:, 1]
        else:
            scores = softmax(logits[:, entailment])
        order = scores.argsort()[::-1]
        return {
            "sequence": request.context,
            "labels": [settings.labels[index] for index in order],
            "scores": scores[order].tolist(),
        }
