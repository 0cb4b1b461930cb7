"""The tests of tasks that write text: against the frozen answers, with a decoder in PyTorch in the graphs' place.

What the graphs give is compared with PyTorch elsewhere; here it is what becomes of it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgepipe import Tokenizer
from edgepipe.pipelines.registry import task_class
from tests.golden.compare import assert_same
from tests.golden.suites import ask, golden, suite, weights_digest
from tests.runtime.generation.torch_decoder import TorchDecoder


@cache
def built(task: str, architecture: str, model: str) -> tuple[Any, Any]:
    """A model of a suite and its tokenizer, both of transformers."""
    made: tuple[Any, Any] = suite(task).build(architecture, **suite(task).build_arguments(architecture, model))
    return made


def loaded(task: str, model: Any, tokenizer: Any, **options: Any) -> Any:
    """The task over a model in PyTorch."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        ours = Tokenizer.from_pretrained(Path(folder))
    return task_class(task)(ours, TorchDecoder(model), **options)


def prove_frozen_texts(task: str, architecture: str, model: str) -> None:
    """The task answers what the golden file has, and the model has the same weights."""
    content = golden(task, architecture)
    made, tokenizer = built(task, architecture, model)
    assert weights_digest(made) == content["weights"][model], "other weights: make the golden file again"
    pipe = loaded(task, made, tokenizer)
    for case in content["cases"]:
        if case["model"] == model:
            asked = loaded(task, made, tokenizer, **case["made_with"]) if case["made_with"] else pipe
            assert_same(ask(asked, case), case["result"], f"{architecture}, {model}, {case['name']}")
