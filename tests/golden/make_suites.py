"""Write the golden files of the suites: what ``transformers.pipeline`` answers, one file an architecture.

    python -m tests.golden.make_suites [task ...]

Run it with the version of transformers that is the task's reference; question answering is answered by 4.57.6, in an
environment of its own: ``pip install transformers==4.57.6 torch==2.13.0``.
"""

from __future__ import annotations

import copy
import itertools
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy
import tokenizers
import torch
import transformers

from tests.golden.cases import Case
from tests.golden.make import to_text
from tests.golden.suites import MODULES, Suite, ask, plain, suite, weights_digest

# Neighbors in a ranking may not be nearer than this share of their score, or a last bit could change their order.
MARGIN = 2e-5


def reference(task: str, model: Any, tokenizer: Any, case: Case) -> Any:
    """What transformers answers."""
    config = copy.deepcopy(model.config)  # 4.57's pipelines take the prefix of their task out of it
    pipe = transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **case["made_with"])
    model.config = config
    return ask(pipe, case)


def golden(made: Suite, architecture: str) -> dict[str, Any]:
    """The content of an architecture's file."""
    answered: list[Any] = []
    digests: dict[str, str] = {}
    for name in made.models[architecture]:
        model, tokenizer = made.build(architecture, **made.build_arguments(architecture, name))
        digests[name] = weights_digest(model)
        for case in made.cases_of(architecture, name):
            where = f"{made.task}, {architecture}, {name}, {case['name']}"
            try:
                result = reference(made.task, model, tokenizer, case)
            except BaseException as error:  # the tokenizers' panics are no exceptions
                error.add_note(where)
                raise
            if made.ranked:
                require_margin(result, where)
            answered.append({**case, "result": plain(result)})
    versions = {package.__name__: package.__version__ for package in (transformers, torch, tokenizers, numpy)}
    return {
        "task": made.task,
        "architecture": architecture,
        "made_by": f"python -m tests.golden.make_suites {made.task}",
        "versions": versions,
        "models": made.models[architecture],
        "weights": digests,
        "cases": answered,
    }


def rankings(result: Any) -> Iterator[list[float]]:
    """The scores of each ranking in a result."""
    if isinstance(result, dict):
        yield from [result["scores"]] if "scores" in result else []
    elif isinstance(result, list):
        if all(isinstance(entry, dict) and "score" in entry for entry in result):
            yield [entry["score"] for entry in result]
        else:
            for entry in result:
                yield from rankings(entry)


def require_margin(result: Any, where: str) -> None:
    """Refuse a ranking in which two entries are too near for their order to be certain."""
    # A list of answers to several questions reads like a ranking, but does not fall.
    for scores in rankings(result):
        if scores == sorted(scores, reverse=True):
            for high, low in itertools.pairwise(scores):
                if high - low < MARGIN * high or low == 0:
                    raise SystemExit(f"{where}: the scores {high} and {low} are too near; change the text or the seed")


def main() -> None:
    """Write the files of the named tasks, or of all that this version of transformers is the reference of."""
    transformers.utils.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)  # threads that wait for each other are slow where cores are busy
    for task in sys.argv[1:] or MODULES:
        made = suite(task)
        if not transformers.__version__.startswith(made.reference):
            print(f"{task}: skipped, its reference is transformers {made.reference}, not {transformers.__version__}")
            continue
        for architecture in made.models:
            path = made.path(architecture)
            path.parent.mkdir(exist_ok=True)
            content = golden(made, architecture)
            path.write_text(to_text(content), encoding="utf-8")
            print(f"{task}/{path.name}: {len(content['cases'])} cases, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
