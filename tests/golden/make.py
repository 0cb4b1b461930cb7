"""Write the golden files: what ``transformers.pipeline`` answers to every case, one file an architecture.

    python -m tests.golden.make [architecture ...]

Run it again only when the cases change or another version of transformers becomes the reference.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import tokenizers
import torch
import transformers

from tests.golden.cases import MODELS, Case, cases
from tests.tiny import ARCHITECTURES, build

FOLDER = Path(__file__).parent / "text-classification"

# The architecture whose file has every kind of problem; the others have the first: the graphs do not differ.
EVERY_PROBLEM = "bert"

# Two labels may not be nearer than this, or a last bit could change their order.
MARGIN = 2e-6


def models_of(architecture: str) -> dict[str, dict[str, Any]]:
    """Arguments of `tests.tiny.build`, by the name that cases call the model."""
    return dict(list(MODELS.items())[: None if architecture == EVERY_PROBLEM else 1])


def call(pipe: Any, case: Case) -> Any:
    """Call a pipeline as the case says; a generator's results come back as a list."""
    if case["generator"]:
        return list(pipe((item for item in case["inputs"]), **case["options"]))
    return pipe(case["inputs"], **case["options"])


def reference(model: Any, tokenizer: Any, case: Case) -> Any:
    """What transformers answers."""
    pipe = transformers.pipeline(
        "text-classification", model=model, tokenizer=tokenizer, device="cpu", **case["made_with"]
    )
    return call(pipe, case)


def golden(architecture: str) -> dict[str, Any]:
    """The content of an architecture's file."""
    models = models_of(architecture)
    answered: list[Case] = []
    for name, arguments in models.items():
        model, tokenizer = build(architecture, **arguments)
        for case in cases(name, brief=name != next(iter(models))):
            result = reference(model, tokenizer, case)
            require_margin(case, result, f"{architecture}: {case['name']}")
            answered.append({**case, "result": result})
    versions = {package.__name__: package.__version__ for package in (transformers, torch, tokenizers, numpy)}
    return {
        "task": "text-classification",
        "architecture": architecture,
        "made_by": "python -m tests.golden.make",
        "versions": versions,
        "models": models,
        "cases": answered,
    }


def require_margin(case: Case, result: Any, where: str) -> None:
    """Refuse a ranking in which two labels are too near for their order to be certain."""
    if "top_k" not in case["made_with"] | case["options"]:
        return
    for ranking in [result] if isinstance(result[0], dict) else result:
        scores = [entry["score"] for entry in ranking]
        gaps = [high - low for high, low in pairwise(scores)]
        if gaps and min(gaps) < MARGIN:
            raise SystemExit(f"{where}: two scores differ by {min(gaps):.1e}; change the text or the seed")


def to_text(content: dict[str, Any]) -> str:
    """JSON with one line a case, so that a difference shows the case."""
    head = {key: value for key, value in content.items() if key != "cases"}
    lines = ",\n".join("  " + json.dumps(case, ensure_ascii=True) for case in content["cases"])
    return json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"


def main() -> None:
    """Write the files of the named architectures, or of all."""
    transformers.utils.logging.set_verbosity_error()
    FOLDER.mkdir(exist_ok=True)
    for architecture in sys.argv[1:] or ARCHITECTURES:
        content = golden(architecture)
        path = FOLDER / f"{architecture}.json"
        path.write_text(to_text(content), encoding="utf-8")
        print(f"{path.name}: {len(content['cases'])} cases, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
