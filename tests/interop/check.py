"""Our bundles in optimum-onnx and in transformers.js: ``python -m tests.interop.check`` (``make interop``).

Tiny random checkpoints are exported, one for each task and architecture, and edgepipe, optimum-onnx 0.1.0 and
transformers.js under Node answer the same questions with them. One table is printed: the largest difference of a score
from edgepipe's, or how many rows of tokens were written alike. The exit status is 1 when a score differs by more than
1e-3, or anything else differs at all.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from edgepipe.text_table import table
from tests.interop.case import OPTIMUM, TRANSFORMERS_JS, Case
from tests.interop.environments import optimum_command, run, transformers_js_command
from tests.interop.readers import MASKS, QUESTIONS, Reader
from tests.interop.writers import DTYPES, WRITERS, Writer

TOLERANCE = 1e-3
ASKERS: dict[str, Callable[[], list[str]]] = {OPTIMUM: optimum_command, TRANSFORMERS_JS: transformers_js_command}


def main() -> int:
    """Print the table; returns the exit status."""
    arguments = _arguments()
    transformers_logging.disable_progress_bar()
    commands = {name: ASKERS[name]() for name in arguments.only or ASKERS}
    cases: list[Case] = [Reader(task, model) for task in QUESTIONS for model in arguments.models if model in MASKS] + [
        Writer(WRITERS[model], model, dtype) for model in arguments.models if model in WRITERS for dtype in DTYPES
    ]
    with tempfile.TemporaryDirectory(prefix="edgepipe-interop-") as temporary:
        root = Path(temporary)
        for case in {case.bundle: case for case in cases}.values():
            case.make(root)
        own = [case.own(root) for case in cases]
        rows = [[case.task, case.model, case.dtype] for case in cases]
        wrong: list[str] = []
        for name, command in commands.items():
            for row, case, ours, theirs in zip(rows, cases, own, _asked(root, name, command, cases), strict=True):
                shown, why = _compared(case, root, ours, theirs)
                row.append(shown)
                if why:
                    wrong.append(f"{name}, {', '.join(row[:3])}: {why}")
    print(table(["task", "model", "dtype", *commands], rows))
    print("\n".join(["", *wrong]) if wrong else f"\nall equal, scores within {TOLERANCE:g}")
    return 1 if wrong else 0


def _asked(root: Path, name: str, command: list[str], cases: Sequence[Case]) -> Any:
    """What another tool answers, in a process of its own."""
    request, answers = root / "request.json", root / "answers.json"
    asked = [
        {"task": case.task, "root": str(root), "bundle": case.bundle, "dtype": case.dtype, "calls": case.calls(name)}
        for case in cases
    ]
    request.write_text(json.dumps(asked), encoding="utf-8")
    run([*command, str(request), str(answers)])
    return json.loads(answers.read_text(encoding="utf-8"))


def _compared(case: Case, root: Path, ours: Any, theirs: Any) -> tuple[str, str]:
    """What the table shows, and what is wrong, if anything is."""
    if isinstance(theirs, dict):
        return "FAILS", theirs["error"]
    kept, found = (case.kept(answers, root) for answers in (ours[: len(theirs)], theirs))
    difference, why = _difference(kept, found)
    if difference > TOLERANCE:
        return "DIFFERS", why or f"scores differ by {difference:.1e}"
    return (f"{len(found)} of {len(kept)}" if isinstance(case, Writer) else f"{difference:.1e}"), ""


def _difference(ours: Any, theirs: Any) -> tuple[float, str]:
    """The largest difference of two numbers, infinite where anything else differs, and what that is."""
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
    parser.add_argument("--only", nargs="+", choices=tuple(ASKERS), help="[default: both]")
    models = (*MASKS, *WRITERS)
    parser.add_argument("--models", nargs="+", choices=models, default=list(models), help="[default: all]")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
