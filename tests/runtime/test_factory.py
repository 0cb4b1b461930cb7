"""``pipeline()`` and what every task shares: tasks, options, lists, generators, batches, threads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, EdgepipeError, pipeline
from edgepipe.errors import InputError, VariantError
from edgepipe.pipelines.batching import WINDOW
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import LABELS, LIMIT, write_bundle

TASK = "text-classification"
TEXTS = ["a b c", "", "one two", "x" * 200, "日本", "a b c", "  "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("pipeline"), ("fp32", "int8"))


@pytest.fixture(scope="module")
def classify(folder: Path) -> Any:
    return pipeline(TASK, folder)


# Which bundle.


def test_a_loaded_bundle(folder: Path, classify: Any) -> None:
    assert pipeline(model=Bundle.load(folder))("a b c") == classify("a b c")
    assert pipeline(model=str(folder))("a b c") == classify("a b c")


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
