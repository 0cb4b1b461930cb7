"""Every variant of a bundle in transformers.js under Node, by each way to name it: ``make interop`` runs it.

transformers.js has names for some variants. It takes others by the name of their file. A name that it does not know is
that of another variant to it, without a word, and one without a file is an error: docs/how-to/node-and-browser.md says
so. Each time no other variant is there than the one that should answer.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe import pipeline
from edgepipe.bundle.layout import SUFFIXES
from edgepipe.text_table import table
from edgepipe_export import export
from tests.interop.environments import run, transformers_js_command
from tests.interop.readers import TEXTS
from tests.tiny import build

TOLERANCE = 1e-3
DTYPES = ("fp32", "fp16", "int8", "int8-static", "w8", "q4", "q4f16")


@dataclass(frozen=True)
class Asked:
    """How transformers.js is asked for a variant.

    Attributes:
        dtype: Its ``dtype``; None to leave it out.
        expected: The variant that answers; None where there is an error.
        file: Its ``model_file_name``.
    """

    dtype: str | None
    expected: str | None
    file: str | None = None


WAYS = (
    *(Asked(dtype, dtype) for dtype in ("fp32", "fp16", "int8", "q4", "q4f16")),
    Asked("fp32", "w8", "model_w8"),
    Asked("fp32", "int8-static", "model_int8_static"),
    Asked("w8", "fp32"),  # not what was asked for: the page and the export say so
    Asked("int8-static", "fp32"),
    *(Asked(dtype, None) for dtype in ("q8", "uint8", "bnb4")),
)


def main() -> int:
    """Print the table; returns the exit status."""
    command = transformers_js_command()
    with tempfile.TemporaryDirectory(prefix="edgepipe-variants-") as temporary:
        root = Path(temporary)
        build("bert", directory=root / "checkpoint")
        export(root / "checkpoint", root / "bundle", dtypes=DTYPES, verify=False)
        config = json.loads((root / "bundle" / "config.json").read_text(encoding="utf-8"))
        ways = (Asked(None, config["transformers.js_config"]["dtype"]), *WAYS)
        for number, way in enumerate(ways):
            keep_variant(root / "bundle", root / f"bundle-{number}", way.expected)
        answers = ask(root, command, ways)
        own = {dtype: [pipeline(model=root / "bundle", dtype=dtype)(text) for text in TEXTS] for dtype in DTYPES}
    rows, status = [], 0
    for way, answer in zip(ways, answers, strict=True):
        expected = None if way.expected is None else own[way.expected]
        right = is_equal(answer, expected)
        status |= not right
        shown = "an error" if way.expected is None else way.expected
        rows.append([way.dtype or "left out", way.file or "", shown, "yes" if right else f"NO: {answer!r:.300}"])
    print(table(["dtype", "model_file_name", "expected", "equal"], rows))
    return status


def keep_variant(bundle: Path, copy: Path, dtype: str | None) -> None:
    """Copy a bundle with the graph of one variant alone; with all for None."""
    shutil.copytree(bundle, copy)
    for graph in (copy / "onnx").iterdir():
        if dtype is not None and graph.name.partition(".")[0] != f"model{SUFFIXES[dtype]}":
            graph.unlink()


def ask(root: Path, command: list[str], ways: tuple[Asked, ...]) -> Any:
    """What transformers.js answers, way by way."""
    request, answers = root / "request.json", root / "answers.json"
    asked = [
        {"task": "text-classification", "root": str(root), "bundle": f"bundle-{number}", "dtype": way.dtype}
        | ({} if way.file is None else {"model_file_name": way.file})
        | {"calls": [[[text], {}] for text in TEXTS]}
        for number, way in enumerate(ways)
    ]
    request.write_text(json.dumps(asked), encoding="utf-8")
    run([*command, str(request), str(answers)])
    return json.loads(answers.read_text(encoding="utf-8"))


def is_equal(answer: Any, expected: Any) -> bool:
    """Whether labels are equal and scores near; for an error whether there is one."""
    if expected is None or isinstance(answer, dict):
        return expected is None and isinstance(answer, dict)
    pairs = list(zip((row[0] for row in answer), (row[0] for row in expected), strict=True))
    return all(a["label"] == b["label"] and abs(a["score"] - b["score"]) <= TOLERANCE for a, b in pairs)


if __name__ == "__main__":
    sys.exit(main())
