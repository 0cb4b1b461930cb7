"""text-classification beside transformers: frozen answers and live ones, for every architecture."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import transformers

from edgepipe import pipeline
from tests.conftest import Exported
from tests.golden.cases import MODELS, cases
from tests.golden.compare import assert_same
from tests.golden.make import FOLDER, call, models_of, reference
from tests.golden.prove import Pipelines
from tests.tiny import ARCHITECTURES

PAIRS = [(architecture, model) for architecture in ARCHITECTURES for model in models_of(architecture)]
every_model = pytest.mark.parametrize(("architecture", "model"), PAIRS, ids=lambda name: name)


@cache
def golden(architecture: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{architecture}.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_golden_file_has_today_s_cases(architecture: str) -> None:
    content = golden(architecture)
    assert content["models"] == models_of(architecture)
    frozen = [{key: value for key, value in case.items() if key != "result"} for case in content["cases"]]
    first = next(iter(MODELS))
    wanted = [case for name in models_of(architecture) for case in cases(name, brief=name != first)]
    assert frozen == json.loads(json.dumps(wanted)), "run: python -m tests.golden.make"


@every_model
def test_as_frozen(architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    content = golden(architecture)
    made = tiny_export(architecture, **content["models"][model])
    chosen = [case for case in content["cases"] if case["model"] == model]
    assert chosen
    pipelines = Pipelines("text-classification", made.bundle)
    for case in chosen:
        assert_same(
            call(pipelines(case["made_with"]), case), case["result"], f"{architecture}, {model}, {case['name']}"
        )


@every_model
def test_as_transformers_answers_here(architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export(architecture, **models_of(architecture)[model])
    pipelines = Pipelines("text-classification", made.bundle)
    for case in cases(model, brief=model != next(iter(MODELS))):
        expected = reference(made.model, made.tokenizer, case)
        assert_same(call(pipelines(case["made_with"]), case), expected, f"{architecture}, {model}, {case['name']}")


def test_the_frozen_answers_tell_texts_apart() -> None:
    """Golden files of a model that answers everything alike would prove little."""
    for architecture in ARCHITECTURES:
        texts = [case for case in golden(architecture)["cases"] if case["name"].startswith("text: ")]
        assert len({case["result"][0]["label"] for case in texts}) > 1, architecture
        assert len({round(case["result"][0]["score"], 3) for case in texts}) > len(texts) // 2, architecture


def test_a_text_over_the_limit_is_truncated_where_transformers_raises(tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export("bert", **MODELS["single label"])
    text = "A very long text goes on and on. " * 40
    reference_pipe = transformers.pipeline(
        "text-classification", model=made.model, tokenizer=made.tokenizer, device="cpu"
    )
    with pytest.raises((IndexError, RuntimeError)):
        reference_pipe(text)
    ours = pipeline("text-classification", made.bundle)
    assert_same(ours(text, top_k=None), reference_pipe(text, top_k=None, truncation=True))
    assert_same(ours([text, "short"], batch_size=2), reference_pipe([text, "short"], truncation=True))
