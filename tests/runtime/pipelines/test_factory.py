"""``pipeline()`` and what every task shares: tasks, options, lists, generators, batches, threads."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, EdgepipeError, pipeline
from edgepipe.errors import InputError, TaskError, VariantError
from edgepipe.pipelines.batching import WINDOW
from tests.conftest import REPOSITORY
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import LABELS, LIMIT, write_bundle, write_foreign, write_graph

TASK = "text-classification"
TEXTS = ["a b c", "", "one two", "x" * 200, "日本", "a b c", "  "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("pipeline"), ("fp32", "int8"))


@pytest.fixture(scope="module")
def classify(folder: Path) -> Any:
    return pipeline(TASK, folder)


# Which task, which bundle.


@pytest.mark.parametrize("task", [None, TASK, "sentiment-analysis"])
def test_the_task_by_name_or_from_the_bundle(folder: Path, task: str | None) -> None:
    made = pipeline(task, folder)
    assert type(made).__name__ == "TextClassification"
    assert made("a b c")[0]["label"] in LABELS


@pytest.mark.parametrize(("task", "name"), [(None, TASK), (TASK, TASK), ("sentiment-analysis", "sentiment-analysis")])
def test_the_task_is_called_as_it_was_asked_for(folder: Path, task: str | None, name: str) -> None:
    assert pipeline(task, folder).task == name


@pytest.mark.parametrize(("task", "prefix"), [("translation", "To French: "), ("translation_a_to_de", "To German: ")])
def test_a_translation_is_the_one_that_its_name_says(task: str, prefix: str, tmp_path: Path) -> None:
    folder = tmp_path / "writer"
    shutil.copytree(REPOSITORY / "tests" / "data" / "foreign_writers" / "merged", folder)
    config = json.loads((folder / "config.json").read_text())
    config["task_specific_params"] = {
        "translation_a_to_fr": {"prefix": "To French: "},
        "translation_a_to_de": {"prefix": "To German: "},
    }
    (folder / "config.json").write_text(json.dumps(config))
    made: Any = pipeline(task, folder)
    assert (made.task, made.prefix) == (task, prefix)


def test_a_loaded_bundle(folder: Path, classify: Any) -> None:
    assert pipeline(model=Bundle.load(folder))("a b c") == classify("a b c")
    assert pipeline(model=str(folder))("a b c") == classify("a b c")


@pytest.mark.parametrize(
    ("task", "nearest"),
    [
        ("text-clasification", "text-classification"),
        ("sentiment", "sentiment-analysis"),
        ("Text-Classification", "text-classification"),
    ],
)
def test_an_unknown_task_names_the_nearest(folder: Path, task: str, nearest: str) -> None:
    with pytest.raises(TaskError, match=rf"unknown task '{task}' \(did you mean '{nearest}'\?\); the tasks are "):
        pipeline(task, folder)


@pytest.mark.parametrize("task", ["", "xyzzy", 3, ["text-classification"], b"ner"])
def test_what_is_no_task(folder: Path, task: Any) -> None:
    with pytest.raises(TaskError, match=r"unknown task .*the tasks are .*text-classification"):
        pipeline(task, folder)


def test_a_bundle_in_the_place_of_the_task(folder: Path) -> None:
    with pytest.raises(TaskError, match=f"is a directory, not a task; name a bundle with model='{folder}'"):
        pipeline(str(folder))


def test_an_unknown_task_is_said_before_the_bundle_is_looked_for() -> None:
    with pytest.raises(TaskError):
        pipeline("xyzzy", "/nowhere")


def test_a_task_that_does_not_fit(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, task="fill-mask")
    with pytest.raises(TaskError, match="is for fill-mask, not for text-classification"):
        pipeline(TASK, bundle)


def test_a_bundle_for_a_task_this_version_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="unknown task 'mind-reading'"):
        pipeline(model=write_bundle(tmp_path, task="mind-reading"))


def test_a_foreign_directory_that_does_not_say_its_task(tmp_path: Path) -> None:
    config = {"architectures": ["MysteryNet"], "id2label": {"0": "a", "1": "b", "2": "c"}}
    write_foreign(tmp_path, config={**config, "max_position_embeddings": LIMIT})
    write_graph(tmp_path / "model.onnx")
    with pytest.raises(TaskError, match=r"does not say its task .*; name one of .*text-classification"):
        pipeline(model=tmp_path)
    assert pipeline(TASK, tmp_path)("a")[0]["label"] in "abc"


def test_variants(folder: Path, classify: Any) -> None:
    assert pipeline(model=folder, dtype="int8")("a b c") != classify("a b c")
    assert pipeline(model=folder, dtype="fp32")("a b c") == classify("a b c")
    with pytest.raises(VariantError, match=r"'int4'.*there is fp32, int8"):
        pipeline(model=folder, dtype="int4")


# Options.


def test_options_when_made_and_at_the_call(folder: Path, classify: Any) -> None:
    ranked = classify("a b c", top_k=None)
    assert [len(ranked), ranked[0]] == [len(LABELS), classify("a b c")[0]]
    made = pipeline(model=folder, top_k=2, function_to_apply="none")
    assert made(["a b c"]) == [classify("a b c", top_k=2, function_to_apply="none")]
    assert made(["a b c"], top_k=1) == [classify("a b c", top_k=1, function_to_apply="none")]
    assert made(["a b c"], function_to_apply="sigmoid") == [classify("a b c", top_k=2, function_to_apply="sigmoid")]
    assert made(["a b c"]) == [classify("a b c", top_k=2, function_to_apply="none")], "a call's options do not stay"


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("topk", "top_k"),
        ("function_apply", "function_to_apply"),
        ("max_len", "max_length"),
        ("truncate", "truncation"),
        ("zzz", None),
    ],
)
def test_an_unknown_option_names_the_nearest(folder: Path, classify: Any, option: str, nearest: str | None) -> None:
    message = f"text-classification has no option '{option}'" + (f"; did you mean '{nearest}'" if nearest else "")
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        classify("a", **{option: 1})
    with pytest.raises(InputError, match=message):
        pipeline(model=folder, **{option: 1})


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_k": "2"},
        {"top_k": True},
        {"function_to_apply": "default"},
        {"function_to_apply": ""},
        {"function_to_apply": 3},
        {"function_to_apply": lambda logits: logits},
        {"batch_size": 0},
        {"batch_size": -2},
        {"batch_size": 1.0},
        {"batch_size": "8"},
        {"truncation": "sometimes"},
        {"truncation": 3},
        {"max_length": 0},
        {"max_length": -3},
        {"max_length": "8"},
        {"max_length": 1},
        {"padding": "always"},
        {"pad_to_multiple_of": 0},
        {"stride": -1},
    ],
)
def test_an_option_of_a_wrong_value(folder: Path, classify: Any, options: dict[str, Any]) -> None:
    for call in (lambda: classify("a", **options), lambda: classify(["a", "b"], **options)):
        with pytest.raises(InputError, match=next(iter(options))):
            call()
    with pytest.raises(InputError):
        pipeline(model=folder, **options)("a")


# Inputs.


@pytest.mark.parametrize(
    "form", [list, tuple, iter, lambda texts: (text for text in texts), lambda texts: map(str, texts)]
)
@pytest.mark.parametrize("batch_size", [1, 2, 3, len(TEXTS), 100])
def test_lists_and_iterators_in_every_batch_size(classify: Any, form: Any, batch_size: int) -> None:
    results = classify(form(TEXTS), batch_size=batch_size, top_k=None)
    assert isinstance(results, list if form in (list, tuple) else Iterator)
    for text, result in zip(TEXTS, results, strict=True):
        expected = classify(text, top_k=None)
        assert [entry["label"] for entry in result] == [entry["label"] for entry in expected]
        assert [entry["score"] for entry in result] == pytest.approx([e["score"] for e in expected], abs=1e-6)


@pytest.mark.parametrize("nothing", [[], (), iter([])])
def test_nothing_gives_nothing(classify: Any, nothing: Any) -> None:
    assert list(classify(nothing)) == []
    assert list(classify(nothing, top_k=None, batch_size=4)) == []


def test_text_over_the_limit_is_truncated(classify: Any) -> None:
    words = " ".join("abcdefghijklmnopqrstuvwxyz")
    kept = " ".join("abcdefghijklmnopqrstuvwxyz"[: LIMIT - 2])
    assert classify(words, top_k=None) == classify(kept, top_k=None)
    assert classify(words, top_k=None) == classify(words, top_k=None, truncation=True)
    assert classify(words, top_k=None, max_length=10_000, truncation=True) == classify(kept, top_k=None)
    assert classify(words, max_length=5, truncation=True) == classify(words[: 2 * 3 - 1])
    with pytest.raises(InputError, match=f"28 tokens are more than the {LIMIT}"):
        classify(words, truncation=False)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        2.5,
        True,
        b"bytes",
        object(),
        {},
        {"txt": "a"},
        {"text": "a", "pair": "b"},
        {"text": None},
        {"text": 3},
        {"text": "a", "text_pair": 3},
        {"text_pair": "a"},
        {"text": ["a"]},
        ("a", "b", 3)[2],
    ],
)
def test_what_is_no_input(classify: Any, value: Any) -> None:
    with pytest.raises(InputError, match=r'expected a text|a dict input has the keys "text"'):
        classify(value)
    with pytest.raises(InputError, match=r'^input 1: (expected a text|a dict input has the keys "text")'):
        classify(["fine", value])


@pytest.mark.parametrize("value", [["a", "b"], [], [["a"]], [["a", "b"], ["c", "d"]], [[["a", "b"]]]])
def test_a_list_within_a_list_is_no_input(classify: Any, value: Any) -> None:
    with pytest.raises(InputError, match=r"^input 0: a list is not an input; for a pair"):
        classify([value])


@pytest.mark.parametrize("text", ["\ud800", "half \udfff emoji", "a\udc80b"])
def test_lone_surrogates(classify: Any, text: str) -> None:
    with pytest.raises(InputError, match="surrogate"):
        classify(text)
    with pytest.raises(InputError, match=r"^input 2: .*surrogate"):
        classify(["a", "b", text])
    with pytest.raises(InputError, match="surrogate"):
        classify({"text": "a", "text_pair": text})


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ufeff", "\u202e", "\n\r\t", "\U0010ffff", "e" + "\u0301" * 500])
def test_odd_text_is_answered(classify: Any, text: str) -> None:
    (result,) = classify(text)
    assert result["label"] in LABELS
    assert 0 <= result["score"] <= 1


def test_the_position_counts_over_batches(classify: Any) -> None:
    results = classify(iter(["a", "b", "c", None, "d"]), batch_size=2)
    assert [next(results)["label"] in LABELS for _ in range(2)] == [True, True]
    with pytest.raises(InputError, match=r"^input 3: "):
        list(results)


def test_an_error_of_the_iterator_itself_comes_through(classify: Any) -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise KeyError("the caller's own")

    results = classify(broken())
    assert next(results)["label"] in LABELS
    with pytest.raises(KeyError, match="the caller's own"):
        next(results)


def test_a_pipeline_is_as_good_after_an_error(classify: Any) -> None:
    before = classify("a b c")
    with pytest.raises(EdgepipeError):
        classify("a", truncation=False, max_length=3, padding="always")
    assert classify("a b c") == before


# Laziness.


@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_endless_generator_is_read_only_as_far_as_needed(classify: Any, batch_size: int) -> None:
    read = itertools.count()
    results = classify((f"text {next(read)}" for _ in itertools.repeat(None)), batch_size=batch_size)
    assert next(read) == 0, "nothing is read before the first result is asked for"
    for _ in range(4):
        next(results)
    taken = next(read) - 1
    assert taken == (4 if batch_size == 1 else WINDOW * batch_size)


def test_a_long_generator_takes_no_more_memory_than_a_short_one(folder: Path) -> None:
    program = """
        import sys, tracemalloc
        from edgepipe import pipeline
        classify = pipeline(model=sys.argv[1])
        def peak(count):
            tracemalloc.start()
            for _ in classify((f"{i} " + "x" * 5000 for i in range(count)), batch_size=4):
                pass
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found
        peak(50)
        print(peak(50), peak(1000))
    """
    short, long = map(int, run_python(program, str(folder)).split())
    assert long < short + 1_000_000, "5 MB of texts went through"


# Threads.


def test_many_threads_get_what_one_gets(classify: Any) -> None:
    texts = [f"{text} {index}" for index, text in enumerate(TEXTS * 12)]
    options: list[dict[str, Any]] = [{"top_k": None}, {"top_k": None, "truncation": True, "max_length": 4}]
    jobs = [(text, option) for text in texts for option in options]
    expected = [classify(text, **option) for text, option in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: classify(job[0], **job[1]), jobs))
    assert found == expected
