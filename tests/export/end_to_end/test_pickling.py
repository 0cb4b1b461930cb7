"""Pipelines of every task, pickled: what comes back gives the same results, in this process and in another."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from edgepipe import Model, Tokenizer, pipeline
from edgepipe.errors import BundleError, InputError
from edgepipe_export import export
from tests.conftest import Exported
from tests.export.end_to_end.test_not_finite import CALLS
from tests.runtime.small_bundle import TOKENIZERS, write_bundle
from tests.tiny.generative import build_generative

TEXTS = ["a b c", "I love this", "日本 😀"]


def again(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


@pytest.mark.parametrize("task", CALLS)
def test_every_task_that_reads(task: str, tiny_export: Callable[..., Exported]) -> None:
    labels = {"labels": ("entailment", "neutral", "contradiction")} if task == "zero-shot-classification" else {}
    bundle = tiny_export("bert", task=task, **labels).bundle
    text, options = CALLS[task]
    pipe = pipeline(task, bundle, batch_size=2, **options)
    copied = again(pipe)
    assert copied(text) == pipe(text)
    assert (repr(copied), copied.batch_size, copied.options) == (repr(pipe), pipe.batch_size, pipe.options)


def test_a_task_that_writes(tmp_path: Path) -> None:
    model, tokenizer = build_generative("gpt2")
    bundle = export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, verify=False)
    write = pipeline("text-generation", bundle, max_new_tokens=5, do_sample=False)
    assert again(write)("a b c") == write("a b c")


def test_a_translation_that_its_task_s_name_says(tmp_path: Path) -> None:
    model, tokenizer = build_generative("t5")
    bundle = export(model, tmp_path / "bundle", task="translation", tokenizer=tokenizer, verify=False)
    translate = pipeline("translation_en_to_de", bundle, max_new_tokens=5, num_beams=1)
    copied = again(translate)
    assert (copied("a b c"), copied.task) == (translate("a b c"), "translation_en_to_de")


@pytest.mark.parametrize(
    "name", sorted(path.name for path in TOKENIZERS.iterdir() if (path / "tokenizer.json").is_file())
)
def test_every_tokenizer(name: str) -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / name)
    copied = again(tokenizer)
    for text in TEXTS:
        assert copied(text) == tokenizer(text)
        assert copied.decode(tokenizer(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])
    assert copied.all_special_tokens == tokenizer.all_special_tokens
    assert copied.model_max_length == tokenizer.model_max_length


def classify(pipe: Any, text: str) -> Any:
    return pipe(text)


def test_a_process_that_is_spawned(tmp_path: Path) -> None:
    pipe = pipeline(model=write_bundle(tmp_path / "bundle"))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(classify, pipe, TEXTS[0]).result() == pipe(TEXTS[0])


def test_another_bundle_at_the_path_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    pickled = pickle.dumps(pipeline(model=folder))
    shutil.move(folder, tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is not here: a pickled model names its bundle"):
        pickle.loads(pickled)  # noqa: S301
    write_bundle(folder, ("int8",))
    with pytest.raises(BundleError, match="is another bundle than the one that was pickled"):
        pickle.loads(pickled)  # noqa: S301


def test_what_another_tool_wrote(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "edgepipe.json").unlink()
    pipe = pipeline(model=folder)
    assert again(pipe)(TEXTS[0]) == pipe(TEXTS[0])


def test_session_options_cannot_be_pickled(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    model = Model.from_pretrained(folder, session_options=onnxruntime.SessionOptions())
    with pytest.raises(InputError, match="leave session_options out"):
        pickle.dumps(model)
