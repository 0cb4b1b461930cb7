"""Tasks that read: what each bundle is asked, and what of the answers counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe import pipeline
from edgepipe_export import export
from tests.interop.case import TRANSFORMERS_JS, Call, Case
from tests.tiny import build

TEXTS = ("I love this", "What a waste of time!", "Anna met Paul in Paris on the 2nd of May, 12:30.")
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
MASKS = {"bert": "[MASK]", "roberta": "<mask>"}


@dataclass(frozen=True)
class Question:
    """How a task is asked, and what of the answer counts.

    Attributes:
        build: Arguments of ``tests.tiny.build``.
        texts: The inputs; those of fill-mask with ``{mask}`` where the mask goes.
        options: In the call to a Python pipeline.
        js_options: In the call to transformers.js's.
        kept: The keys that are compared: transformers.js gives no offsets, and joins words in its own way.
    """

    build: dict[str, Any]
    texts: Sequence[Any] = TEXTS
    options: Any = None
    js_options: Any = None
    kept: tuple[str, ...] = ()


QUESTIONS: dict[str, Question] = {
    "text-classification": Question({}, options={"top_k": None}, js_options={"top_k": None}, kept=("label", "score")),
    "token-classification": Question({"labels": LABELS}, kept=("entity", "index", "word", "score")),
    "question-answering": Question(
        {"num_labels": 2},
        texts=(("Who met Paul?", TEXTS[2]), ("Where?", TEXTS[2])),
        # transformers.js knows neither: it takes the best span of any length, word or no word.
        options={"max_answer_len": 512, "align_to_words": False},
        kept=("answer", "score"),
    ),
    "fill-mask": Question(
        {},
        texts=("I {mask} this", "Paul met {mask}."),
        options={"top_k": 3},
        js_options={"top_k": 3},
        kept=("token", "score"),
    ),
    "feature-extraction": Question({}),
}


class Reader(Case):
    """An encoder of one architecture with the head of one task."""

    def make(self, root: Path) -> None:
        """See :meth:`Case.make`."""
        checkpoint = root / "checkpoint" / self.bundle
        build(self.model, task=self.task, directory=checkpoint, **QUESTIONS[self.task].build)
        export(str(checkpoint), root / self.bundle, task=self.task, verify=False)

    def calls(self, asked: str) -> list[Call]:
        """See :meth:`Case.calls`."""
        question = QUESTIONS[self.task]
        javascript = asked == TRANSFORMERS_JS
        options = dict((question.js_options if javascript else question.options) or {})
        calls: list[Call] = []
        for text in question.texts:
            if isinstance(text, tuple):
                inputs = list(text) if javascript else [{"question": text[0], "context": text[1]}]
            else:
                inputs = [text.format(mask=MASKS.get(self.model, ""))]
            calls.append((inputs, options))
        return calls

    def own(self, root: Path) -> Any:
        """See :meth:`Case.own`."""
        ask = pipeline(None, root / self.bundle)
        answers = [ask(*inputs, **options) for inputs, options in self.calls("edgepipe")]
        return json.loads(json.dumps(answers, default=float))  # numpy's scores, too, become JSON's

    def kept(self, answers: Any, root: Path) -> Any:
        """See :meth:`Case.kept`."""
        return _kept(answers, QUESTIONS[self.task].kept)


def _kept(value: Any, keys: tuple[str, ...]) -> Any:
    """A result with these keys of its objects alone."""
    if isinstance(value, list):
        return [_kept(item, keys) for item in value]
    if isinstance(value, dict):
        kept = {key: value.get(key) for key in keys}
        if isinstance(kept.get("answer"), str):
            # transformers.js decodes the answer from its tokens, others cut it out of the context.
            kept["answer"] = "".join(kept["answer"].replace("##", "").lower().split())
        if isinstance(kept.get("word"), str):
            kept["word"] = kept["word"].replace("Ġ", " ")  # the blank of byte-level tokens, which it decodes as well
        return kept
    return value
