"""The tasks with golden files: for each a suite of models and cases, and how they are run, frozen and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden.cases import Case
from tests.golden.make import call
from tests.tiny import build

FOLDER = Path(__file__).parents[1]

# task: the module in this package with its SUITE.
MODULES = {
    "token-classification": "token_classification",
    "fill-mask": "fill_mask",
    "zero-shot-classification": "zero_shot_classification",
    "question-answering": "question_answering",
    "feature-extraction": "feature_extraction",
    "text-generation": "text_generation",
    "text2text-generation": "text2text_generation",
    "summarization": "summarization",
    "translation": "translation",
}


@dataclass(frozen=True)
class Suite:
    """What is asked of a task.

    Attributes:
        task: Its name.
        models: Arguments of `tests.tiny.build` by architecture and name of the model; the first model of an
            architecture gets all cases.
        cases: ``cases(architecture, model, brief)`` are the calls; those of a brief list show what models of one
            architecture can differ in.
        reference: Version of transformers that answers, as its beginning.
        ranked: Whether results are in the order of their scores.
        build: Makes a model and its tokenizer from an architecture and the arguments.
    """

    task: str
    models: Mapping[str, Mapping[str, Mapping[str, Any]]]
    cases: Callable[[str, str, bool], list[Case]]
    reference: str = "5."
    ranked: bool = True
    build: Callable[..., tuple[Any, Any]] = build

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every architecture with each of its models."""
        return [(architecture, name) for architecture, models in self.models.items() for name in models]

    def build_arguments(self, architecture: str, model: str) -> dict[str, Any]:
        """Keyword arguments of `tests.tiny.build`."""
        return {"task": self.task, **self.models[architecture][model]}

    def cases_of(self, architecture: str, model: str) -> list[Case]:
        """The cases of one model."""
        return self.cases(architecture, model, model != next(iter(self.models[architecture])))

    def path(self, architecture: str) -> Path:
        """The golden file."""
        return FOLDER / self.task / f"{architecture}.json"


def suite(task: str) -> Suite:
    """The suite of a task."""
    found: Suite = import_module(f"{__name__}.{MODULES[task]}").SUITE
    return found


@cache
def golden(task: str, architecture: str) -> dict[str, Any]:
    """The content of a golden file, with the types that the results had."""
    text = suite(task).path(architecture).read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text, object_hook=_revived)
    return content


def ask(pipe: Any, case: Case) -> Any:
    """Call a pipeline as the case says; without `inputs` the options are all it gets."""
    return pipe(**case["options"]) if case["inputs"] is None else call(pipe, case)


def plain(value: Any) -> Any:
    """A result as JSON data: float32 scores keep their type as ``{"float32": ...}``; six digits of each are kept."""
    if isinstance(value, np.float32):
        return {"float32": float(f"{value:.6g}")}
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def _revived(entry: dict[str, Any]) -> Any:
    return np.float32(entry["float32"]) if list(entry) == ["float32"] else entry


def weights_digest(model: Any) -> str:
    """Names the weights, so that answers of another environment can be known to come from the same model."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode() + parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def make_case(
    name: str, model: str, inputs: Any, made_with: dict[str, Any] | None = None, generator: bool = False, **options: Any
) -> Case:
    """A case; see :class:`Case`."""
    return Case(name=name, model=model, inputs=inputs, generator=generator, made_with=made_with or {}, options=options)


def in_batches(model: str, inputs: Sequence[Any], **options: Any) -> list[Case]:
    """The inputs as list and as generator, at several batch sizes."""
    return [
        make_case(
            f"{kind}, batch_size={size}", model, inputs, generator=kind == "generator", batch_size=size, **options
        )
        for size in (1, 2, 8)
        for kind in ("list", "generator")
    ]
