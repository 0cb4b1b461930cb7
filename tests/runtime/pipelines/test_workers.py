"""Batches side by side: the same results in the same order, from every task, in forked processes and after errors."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import models

from edgepipe import pipeline
from edgepipe.bundle.tasks import TASKS
from edgepipe.errors import ClosedError, InputError
from edgepipe.pipelines.workers import Workers, read_ahead
from edgepipe_export import export
from tests.runtime.embeddings.sentence_modules import write_modules
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle
from tests.tiny import build

WRITERS = Path(__file__).parents[2] / "data" / "foreign_writers"
TEXTS = ["a quiet triumph", "dull", "I loved it", "so long, so very long that it is cut"] * 10
LABELS = ("contradiction", "neutral", "entailment")
WORDS = " ".join(["Sarah lives in Rome"] * 8)
# Inputs and options of each task that writes no text.
INPUTS: dict[str, Any] = {
    "text-classification": (TEXTS, {}),
    "token-classification": (TEXTS, {"aggregation_strategy": "simple"}),
    "fill-mask": (["a [MASK] film", "[MASK] is dull and [MASK]"] * 10, {}),
    "zero-shot-classification": (TEXTS, {"candidate_labels": ["film", "food", "rain"]}),
    "question-answering": (
        [{"question": "who?", "context": WORDS}, {"question": "where?", "context": "Rome"}] * 6,
        {},
    ),
    "feature-extraction": (TEXTS, {}),
    "sentence-similarity": ([{"source_sentence": "dull", "sentences": TEXTS[:5]}] * 4, {}),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("workers"))


@pytest.fixture(scope="module")
def classify(bundle: Path) -> Any:
    return pipeline(model=bundle, workers=3, num_threads=1)


def test_every_task_that_writes_no_text_is_tried() -> None:
    assert {*INPUTS} == {name for name, entry in TASKS.items() if not entry.generates}


@pytest.mark.parametrize("task", INPUTS)
def test_workers_change_no_result(task: str, tmp_path: Path) -> None:
    inputs, options = INPUTS[task]
    head = "feature-extraction" if task == "sentence-similarity" else task
    labels = LABELS if task == "zero-shot-classification" else ()
    build("bert", task=head, labels=labels, directory=tmp_path / "checkpoint")
    if task == "sentence-similarity":
        write_modules(tmp_path / "checkpoint", [models.Pooling(32)])
    made = export(tmp_path / "checkpoint", tmp_path / "bundle", task=task, verify=False)
    alone = pipeline(task, made, num_threads=1, **options)
    beside = pipeline(task, made, num_threads=1, workers=3, **options)
    for batch_size in (1, 4):
        expected = alone(inputs, batch_size=batch_size)
        assert beside(inputs, batch_size=batch_size) == expected
        assert list(beside(iter(inputs), batch_size=batch_size)) == expected
    assert beside(inputs[0]) == alone(inputs[0])


def test_sentence_vectors(tmp_path: Path) -> None:
    build("bert", task="feature-extraction", directory=tmp_path / "checkpoint")
    made = export(tmp_path / "checkpoint", tmp_path / "bundle", verify=False)
    alone = pipeline("feature-extraction", made, num_threads=1)
    beside = pipeline("feature-extraction", made, num_threads=1, workers=2)
    for batch_size in (1, 4):
        expected = alone.embed(TEXTS, pooling="mean", batch_size=batch_size)
        assert (beside.embed(TEXTS, pooling="mean", batch_size=batch_size) == expected).all()


def test_batches_that_keep_their_order(tmp_path: Path) -> None:
    """Results of FNet depend on the padding of their batch, so its batches are those of transformers."""
    build("fnet", task="text-classification", directory=tmp_path / "checkpoint")
    made = export(tmp_path / "checkpoint", tmp_path / "bundle", verify=False)
    alone, beside = (pipeline(model=made, num_threads=1, workers=count) for count in (1, 3))
    for batch_size in (1, 3):
        assert beside(TEXTS, batch_size=batch_size) == alone(TEXTS, batch_size=batch_size)


def test_calls_from_many_threads(classify: Any, bundle: Path) -> None:
    expected = pipeline(model=bundle, num_threads=1)(TEXTS)
    found: dict[int, Any] = {}

    def call(number: int) -> None:
        found[number] = [classify(text)[0] for text in TEXTS] if number % 2 else classify(TEXTS, batch_size=4)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(threads)
    assert all(results == expected for results in found.values())


@pytest.mark.parametrize("batch_size", [1, 2])
def test_an_iterator_is_read_a_little_ahead(classify: Any, batch_size: int) -> None:
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS * 10:
            read.append(text)
            yield text

    results = classify(texts(), batch_size=batch_size)
    assert read == []
    assert next(results) == classify(TEXTS[0])[0]
    assert 1 < len(read) <= 4 * 32 * batch_size
    results.close()
    assert len(read) < len(TEXTS) * 10


@pytest.mark.parametrize("batch_size", [1, 4])
def test_results_before_a_wrong_input_are_given(classify: Any, batch_size: int) -> None:
    expected = classify(TEXTS)
    results = classify(iter([*TEXTS, 7, "more"]), batch_size=batch_size)
    assert [next(results) for _ in TEXTS] == expected
    with pytest.raises(InputError, match="input 40"):
        next(results)


def test_a_closed_pipeline_says_so(bundle: Path) -> None:
    made = pipeline(model=bundle, workers=2)
    made(TEXTS)
    made.close()
    made.close()
    with pytest.raises(ClosedError):
        made(TEXTS)
    with pytest.raises(ClosedError):
        made(TEXTS[0])


def test_threads_end_with_the_pipeline(bundle: Path) -> None:
    before = {*threading.enumerate()}
    made = pipeline(model=bundle, workers=2)
    made(TEXTS)
    threads = {*threading.enumerate()} - before
    assert threads
    made.close()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)


def test_one_worker_is_the_thread_that_calls(bundle: Path) -> None:
    before = {*threading.enumerate()}
    pipeline(model=bundle)(TEXTS, batch_size=4)
    assert {*threading.enumerate()} == before


def test_what_a_pipeline_with_workers_tells(classify: Any) -> None:
    assert repr(classify).endswith("workers=3)")
    assert pickle.loads(pickle.dumps(classify)).model.workers == 3  # noqa: S301 - it is our own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks")
def test_a_forked_child_has_workers_of_its_own(bundle: Path) -> None:
    program = """
        import os, signal, sys, warnings
        from edgepipe import pipeline
        warnings.simplefilter("ignore")
        classify = pipeline(model=sys.argv[1], workers=2)
        texts = ["a b c", "d"] * 20
        expected = classify(texts)
        process = os.fork()
        if process == 0:
            signal.alarm(30)
            sys.exit(7 if classify(texts) == expected else 3)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), classify(texts) == expected)
    """
    assert run_python(program, str(bundle)) == "7 True\n"


def test_tasks_that_write_text_have_none() -> None:
    bundles = sorted(path for path in WRITERS.iterdir() if (path / "generation_config.json").exists())
    assert bundles
    for bundle in bundles:
        with pytest.raises(InputError, match="workers=2 is for tasks that write no text"):
            pipeline(model=bundle, workers=2)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True, None])
def test_what_is_no_number_of_workers(bundle: Path, count: Any) -> None:
    with pytest.raises(InputError, match="workers must be a whole number"):
        pipeline(model=bundle, workers=count)


def test_work_that_fails_says_so_where_its_result_is_wanted() -> None:
    for count in (1, 2):
        workers = Workers(count)
        with pytest.raises(ZeroDivisionError):
            workers.start(lambda: 1 // 0)()
        assert workers.start(lambda: 5)() == 5
        workers.close()


def test_what_is_made_before_an_error_comes_first() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise InputError("no more")

    for count in range(7):
        made = read_ahead(items(), count)
        assert [next(made) for _ in range(5)] == [*range(5)]
        with pytest.raises(InputError, match="no more"):
            next(made)
