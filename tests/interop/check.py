"""Our bundles in optimum-onnx and in transformers.js: ``python -m tests.interop.check`` (``make interop``).

Tiny random checkpoints are exported, one for each task and architecture, and edgepipe, optimum-onnx 0.1.0 and
transformers.js under Node answer the same questions with them. One table is printed: the largest difference of a score
from edgepipe's. The exit status is 1 when a score differs by more than 1e-3, or anything else differs at all.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from edgepipe import pipeline
from edgepipe.table import table
from edgepipe_export import export
from tests.interop.environments import optimum_command, run, transformers_js_command
from tests.tiny import build

TOLERANCE = 1e-3
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


def main() -> int:
    """Print the table; returns the exit status."""
    arguments = _arguments()
    transformers_logging.disable_progress_bar()
    askers: dict[str, Callable[[], list[str]]] = {
        "optimum-onnx": optimum_command,
        "transformers.js": transformers_js_command,
    }
    chosen = {name: askers[name]() for name in arguments.only or askers}
    pairs = [(task, architecture) for task in QUESTIONS for architecture in arguments.architectures]
    with tempfile.TemporaryDirectory(prefix="edgepipe-interop-") as temporary:
        root = Path(temporary)
        own = [_own(root, *pair) for pair in pairs]
        rows = [[*pair] for pair in pairs]
        wrong: list[str] = []
        for name, command in chosen.items():
            for row, pair, ours, theirs in zip(rows, pairs, own, _asked(root, name, command, pairs), strict=True):
                kept = QUESTIONS[pair[0]].kept
                difference, why = _difference(_kept(ours, kept), _kept(theirs, kept))
                good = difference <= TOLERANCE
                row.append(f"{difference:.1e}" if good else "DIFFERS")
                if not good:
                    wrong.append(f"{name}, {', '.join(pair)}: {why or f'scores differ by {difference:.1e}'}")
    print(table(["task", "architecture", *chosen], rows))
    print("\n".join(["", *wrong]) if wrong else f"\nall equal, scores within {TOLERANCE:g}")
    return 1 if wrong else 0


def _own(root: Path, task: str, architecture: str) -> Any:
    """Export a checkpoint, and answer with the bundle."""
    checkpoint, bundle = root / "checkpoint" / f"{task}-{architecture}", root / f"{task}-{architecture}"
    build(architecture, task=task, directory=checkpoint, **QUESTIONS[task].build)
    export(str(checkpoint), bundle, task=task, verify=False)
    ask = pipeline(None, bundle)
    answers = [ask(*inputs, **options) for inputs, options in _calls(task, architecture, "edgepipe")]
    return json.loads(json.dumps(answers, default=float))  # numpy's scores, too, become JSON's


def _calls(task: str, architecture: str, name: str) -> list[tuple[list[Any], dict[str, Any]]]:
    question = QUESTIONS[task]
    javascript = name == "transformers.js"
    options = dict((question.js_options if javascript else question.options) or {})
    calls = []
    for text in question.texts:
        if isinstance(text, tuple):
            asked = list(text) if javascript else [{"question": text[0], "context": text[1]}]
        else:
            asked = [text.format(mask=MASKS.get(architecture, ""))]
        calls.append((asked, options))
    return calls


def _asked(root: Path, name: str, command: list[str], pairs: list[tuple[str, str]]) -> Any:
    """What another tool answers, in a process of its own."""
    request, answers = root / "request.json", root / "answers.json"
    asked = [
        {"task": task, "root": str(root), "bundle": f"{task}-{architecture}", "calls": _calls(task, architecture, name)}
        for task, architecture in pairs
    ]
    request.write_text(json.dumps(asked), encoding="utf-8")
    run([*command, str(request), str(answers)])
    return json.loads(answers.read_text(encoding="utf-8"))


def _kept(value: Any, keys: tuple[str, ...]) -> Any:
    """A result with these keys of its objects alone; a failure stays as it is."""
    if isinstance(value, list):
        return [_kept(item, keys) for item in value]
    if isinstance(value, dict) and "error" not in value:
        kept = {key: value.get(key) for key in keys}
        if isinstance(kept.get("answer"), str):
            # transformers.js decodes the answer from its tokens, others cut it out of the context.
            kept["answer"] = "".join(kept["answer"].replace("##", "").lower().split())
        if isinstance(kept.get("word"), str):
            kept["word"] = kept["word"].replace("Ġ", " ")  # the blank of byte-level tokens, which it decodes as well
        return kept
    return value


def _difference(ours: Any, theirs: Any) -> tuple[float, str]:
    """The largest difference of two numbers, infinite where anything else differs, and what that is."""
    if isinstance(theirs, dict) and "error" in theirs:
        return math.inf, theirs["error"]
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return abs(ours - theirs), ""
    if isinstance(ours, dict) and isinstance(theirs, dict) and list(ours) == list(theirs):
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        parts = [_difference(*pair) for pair in zip(ours, theirs, strict=True)]
        return max(parts, key=lambda part: part[0], default=(0.0, ""))
    return (0.0, "") if ours == theirs else (math.inf, f"{theirs!r:.200} instead of {ours!r:.200}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("optimum-onnx", "transformers.js"), help="[default: both]")
    parser.add_argument("--architectures", nargs="+", choices=tuple(MASKS), default=list(MASKS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
