"""Every task once on a GPU, beside the same bundle on the processor; and many callers of one pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle, pipeline
from edgepipe.bundle.tasks import ALIASES, task_names
from tests.conftest import Exported

pytestmark = pytest.mark.gpu

SCORES = 1e-3
TEXTS = ["I love this film.", "a", "What a waste of two hours, and the ending never comes."]

# task: an architecture or family, what is asked, and options.
UNDERSTANDING: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "text-classification": ("bert", TEXTS, {"top_k": None}),
    "token-classification": ("bert", TEXTS, {}),
    "question-answering": ("bert", [{"question": "Who?", "context": "Ann saw Bob in the garden."}], {}),
    "fill-mask": ("bert", ["I [MASK] this film."], {}),
    "zero-shot-classification": ("bert", TEXTS, {"candidate_labels": ["good", "bad"]}),
    "feature-extraction": ("bert", TEXTS, {}),
    "sentence-similarity": ("bert", [{"source_sentence": TEXTS[0], "sentences": TEXTS}], {}),
}
WRITING: dict[str, str] = {
    "text-generation": "gpt2",
    "text2text-generation": "t5",
    "summarization": "bart",
    "translation": "t5",
}


def assert_near(found: Any, expected: Any) -> None:
    """Equal in structure, labels and texts, numbers within :data:`SCORES`."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_near(found[key], expected[key])
    elif isinstance(expected, list) and expected and isinstance(expected[0], (dict, list, str)):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_near(*pair)
    elif isinstance(expected, str) or expected is None:
        assert found == expected
    else:
        np.testing.assert_allclose(found, expected, atol=SCORES, rtol=0)


def with_mean_vectors(bundle: Bundle, folder: Path) -> Bundle:
    """A copy that says, as sentence-transformers does, that a sentence's vector is the mean of its tokens'."""
    shutil.copytree(bundle.path, folder)
    pooling = {"word_embedding_dimension": bundle.config["hidden_size"], "pooling_mode_mean_tokens": True}
    module = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    body = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    (folder / "modules.json").write_text(json.dumps([body, module]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return Bundle.load(folder)


def test_no_task_is_left_out() -> None:
    assert {*UNDERSTANDING, *WRITING} == set(task_names()) - set(ALIASES)


@pytest.mark.parametrize("task", UNDERSTANDING)
def test_a_task_that_understands(task: str, tiny_export: Callable[..., Exported], tmp_path: Path, device: str) -> None:
    architecture, inputs, options = UNDERSTANDING[task]
    trained_for = "feature-extraction" if task == "sentence-similarity" else task
    labels = {"labels": ("contradiction", "neutral", "entailment")} if task == "zero-shot-classification" else {}
    bundle = tiny_export(architecture, task=trained_for, **labels).bundle
    if task == "sentence-similarity":
        bundle = with_mean_vectors(bundle, tmp_path / "bundle")
    here, there = (pipeline(task, bundle, dtype="fp32", device=where) for where in ("cpu", device))
    assert_near(there(inputs, **options), here(inputs, **options))


@pytest.mark.parametrize("task", WRITING)
def test_a_task_that_writes(task: str, written: Callable[..., Exported], device: str) -> None:
    bundle = written(WRITING[task]).bundle
    here, there = (pipeline(task, bundle, dtype="fp32", device=where) for where in ("cpu", device))
    for options in (
        {"max_new_tokens": 12, "do_sample": False},
        {"max_new_tokens": 12, "do_sample": False, "num_beams": 3},
    ):
        assert there(TEXTS, **options) == here(TEXTS, **options)


def test_many_threads_of_one_pipeline_get_the_same(tiny_export: Callable[..., Exported], device: str) -> None:
    classify = pipeline(model=tiny_export("bert").bundle, dtype="fp32", device=device)
    texts = [f"{text} {number}" for number in range(20) for text in TEXTS]
    alone = [classify(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(classify, texts * 4))
    assert_near(together, alone * 4)


def test_many_threads_of_one_pipeline_write_the_same(written: Callable[..., Exported], device: str) -> None:
    write = pipeline("text-generation", written("gpt2").bundle, dtype="fp32", device=device)
    prompts = [f"{text} {number}" for number in range(4) for text in TEXTS]
    options = {"max_new_tokens": 10, "do_sample": False}
    alone = [write(prompt, **options) for prompt in prompts]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda prompt: write(prompt, **options), prompts)) == alone
