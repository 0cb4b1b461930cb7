"""What the protocols ask of a model: the pipeline's own results, vectors, tensors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError, TaskError
from edgepipe.serve.call import Call, RefusedError
from edgepipe.serve.observability.metrics import ServerMetrics
from edgepipe.serve.served_model import ServedModel, load_model
from edgepipe.serve.settings import Limits, ServedBundle
from edgepipe_export import export
from tests.runtime.small_bundle import expected_logits, write_bundle
from tests.tiny import build


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Bundles of tiny models by their task, made when they are asked for."""
    found: dict[str, Path] = {}

    def make(task: str) -> Path:
        if task not in found:
            folder = tmp_path_factory.mktemp(task)
            labels = ("entailment", "neutral", "contradiction") if task.endswith("-classification") else ()
            build("bert", directory=folder / "tiny", task=task, labels=labels)
            found[task] = export(folder / "tiny", folder / "bundle", dtypes=("fp32",), verify=False).path
        return found[task]

    return make


def use(
    folder: Path, work: Callable[[ServedModel], Coroutine[Any, Any, Any]], *, task: str | None = None, **limits: Any
) -> Any:
    async def run() -> Any:
        loop = asyncio.get_running_loop()
        observer = ServerMetrics().observe("m")
        served = ServedBundle("m", str(folder))
        model = await loop.run_in_executor(None, load_model, served, {"task": task}, Limits(**limits), observer)
        try:
            return await work(model)
        finally:
            await loop.run_in_executor(None, model.close)

    return asyncio.run(run())


ITEMS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "text-classification": (["a b", {"text": "a", "text_pair": "b c"}, "☃ " * 40], {"top_k": None}),
    "token-classification": (["Sarah lives in Rome", "a"], {"aggregation_strategy": "simple"}),
    "question-answering": ([{"question": "Who?", "context": "Sarah lives in Rome. " * 30}], {"top_k": 2}),
    "zero-shot-classification": (["a b", "c"], {"candidate_labels": ["x", "y", "z"]}),
    "feature-extraction": (["a b", "c d e"], {}),
}


@pytest.mark.parametrize("task", ITEMS)
def test_each_task_gives_what_its_pipeline_gives(made: Any, task: str) -> None:
    items, options = ITEMS[task]
    with pipeline(task, made(task), verify="never") as alone:
        expected = [alone([item, item], **options)[0] for item in items]  # a question alone has another form

    async def work(model: ServedModel) -> Any:
        assert model.task.name == task
        assert not model.generates
        return await model.run_all(items, options, Call())

    found = use(made(task), work, task=task)
    assert str(found).count("'") == str(expected).count("'")
    np.testing.assert_allclose(_numbers(found), _numbers(expected), atol=1e-5)
    assert _texts(found) == _texts(expected)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [number for each in value for number in _numbers(each)]
    return [] if isinstance(value, str) or value is None else [float(value)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def test_vectors(made: Any) -> None:
    folder, texts = made("feature-extraction"), ["a b", "c", "d e f g"]
    options: dict[str, Any] = {"pooling": "mean", "normalize_embeddings": True, "truncate_dim": 8}
    with pipeline("feature-extraction", folder, verify="never") as alone:
        expected = alone.embed(texts, **options)
        tokens = sum(len(alone.tokenizer(text)["input_ids"]) for text in texts)

    async def work(model: ServedModel) -> Any:
        with pytest.raises(TaskError, match="writes no text"):
            await model.write("a", {}, Call())
        return await model.embed(texts, Call(), **options)

    vectors, counted = use(folder, work)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert counted == tokens


def test_tensors(tmp_path: Path) -> None:
    ids = np.array([[5, 6, 7], [8, 9, 10]])

    async def work(model: ServedModel) -> Any:
        with pytest.raises(InputError, match="tensors have one shape"):
            await model.run_tensors({"input_ids": ids, "attention_mask": ids[:1]}, Call())
        with pytest.raises(TaskError, match="makes no embeddings"):
            await model.embed(["a"], Call())
        return await model.run_tensors({"input_ids": ids, "attention_mask": np.ones_like(ids)}, Call())

    found = use(write_bundle(tmp_path / "small", ("fp32",)), work)
    np.testing.assert_allclose(found["logits"], expected_logits("fp32", ids.tolist()), atol=1e-5)


@pytest.mark.parametrize("name", ["input_ids", "token_type_ids"])
def test_ids_that_the_model_has_not(made: Any, name: str) -> None:
    async def work(model: ServedModel) -> None:
        ids = np.array([[5, 6, 7]])
        for wrong in (-1, 10**6):
            arrays = {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}
            arrays[name] = np.where(ids == 6, wrong, arrays[name])
            with pytest.raises(InputError, match=f"{name} must be from 0 to .* got {wrong}"):
                await model.run_tensors(arrays, Call())

    use(made("feature-extraction"), work)


def test_limits_and_warnings(tmp_path: Path) -> None:
    async def work(model: ServedModel) -> Any:
        call = Call()
        with pytest.raises(RefusedError, match="3 inputs are more than the 2") as refused:
            await model.run_all(["a"] * 3, {}, call)
        assert refused.value.status == 413
        with pytest.raises(RefusedError, match="tokens are more than the 20"):
            await model.run_all(["a b c d " * 10] * 2, {}, call)
        with pytest.raises(InputError, match="top_k"):
            await model.run_all(["a"], {"top_k": "x"}, call)
        assert call.warnings == []
        await model.run_all(["a b c d " * 10], {}, call)
        await model.run_all(["a b c d " * 10], {"truncation": True}, call)
        return call.warnings

    found = use(write_bundle(tmp_path / "small", ("fp32",)), work, texts=2, tokens=20)
    assert found == ["1 of 1 texts were cut at 16 tokens, which is the limit"]


def test_options_of_one_request_say_nothing_of_another_s(tmp_path: Path) -> None:
    """1 and True are one key of a dict, and two options."""

    async def work(model: ServedModel) -> Any:
        first = await model.run_all(["a"], {"top_k": 1}, Call())
        with pytest.raises(InputError, match="top_k"):
            await model.run_all(["a"], {"top_k": True}, Call())
        return first

    assert len(use(write_bundle(tmp_path / "small", ("fp32",)), work)[0]) == 1


def test_what_it_is(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "small", ("fp32",))

    async def work(model: ServedModel) -> Any:
        assert not model.embeds
        assert model.digest.startswith(model.version)
        return model.describe(), model.plan

    described, plan = use(folder, work)
    assert {**described, "digest": ""} == {
        "name": "m", "task": "text-classification", "dtype": "fp32", "digest": "", "device": "cpu",
        "max_input_length": 16,
    }  # fmt: skip
    assert "batch" in plan
