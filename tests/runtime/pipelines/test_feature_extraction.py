"""Hidden states against transformers' pipeline."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from edgepipe import Bundle, pipeline
from edgepipe.errors import BundleError, InputError, TaskError
from tests.runtime.small_bundle import write_bundle
from tests.tiny import LIMIT

TASK = "feature-extraction"
TEXTS = [
    "I love this film",
    "",
    "a",
    "What a waste of time, and of money! " * 6,
    "日本 🎬",
    "UPPER and lower",
    "ein Satz",
]
DIFFERENCE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Any:
    return transformers.pipeline(TASK, model=str(checkpoint), device="cpu")


def assert_same(got: Any, expected: Any) -> None:
    """Lists where lists are expected, all the way down, and the same numbers."""
    assert type(got) is type(expected)
    if isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    else:
        assert got == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"truncation": True},
        {"tokenize_kwargs": {"truncation": True, "max_length": 6}},
        {"tokenize_kwargs": {"add_special_tokens": False, "max_length": 4}, "truncation": True},
        {"tokenize_kwargs": {"padding": "max_length", "max_length": 12}},
    ],
)
def test_one_text(extract: Any, reference: Any, options: dict[str, Any]) -> None:
    for text in ("I love this film", "日本 🎬"):
        expected = reference(text, **deepcopy(options))  # the reference changes the dict it is given
        assert_same(extract(text, **options), expected)
        assert_same(extract(text, return_tensors=False, **options), expected)
    got, expected = (run("I love this", return_tensors=True, **deepcopy(options)) for run in (extract, reference))
    assert (got.dtype, got.shape) == (np.float32, tuple(expected.shape))
    np.testing.assert_allclose(got, expected.numpy(), **DIFFERENCE)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_lists_and_generators(extract: Any, reference: Any, batch_size: int) -> None:
    texts = [text for text in TEXTS if len(text) < 200]
    expected = reference(texts, batch_size=batch_size)  # batched, there are rows for padding
    assert_same(extract(texts, batch_size=batch_size), expected)
    assert_same(list(extract((text for text in texts), batch_size=batch_size)), expected)
    arrays = extract(texts, batch_size=batch_size, return_tensors=True)
    assert_same([array.tolist() for array in arrays], expected)
    assert all(array.base is None for array in arrays), "a row would keep its whole batch in memory"


def test_options_when_made(bundle: Bundle, reference: Any) -> None:
    made = pipeline(TASK, bundle, truncation=True, return_tensors=True, num_threads=1)
    assert made("a b").shape == tuple(reference("a b", return_tensors=True).shape)
    assert isinstance(made("a b", return_tensors=False), list)


def test_a_text_past_the_limit(extract: Any) -> None:
    assert len(extract("a " * 100)[0]) == LIMIT
    with pytest.raises(InputError, match=f"more than the {LIMIT}"):
        extract("a " * 100, truncation=False)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (3, {}, "expected a text, got int"),
        (["a", None], {}, "input 1: expected a text, got NoneType"),
        ([["a"]], {}, "input 0: expected a text, got list"),
        ({"text": "a"}, {}, "expected a text, got dict"),
        ("a", {"tokenise_kwargs": {}}, "did you mean 'tokenize_kwargs'"),
        ("a", {"tokenize_kwargs": {"max_len": 3}}, "did you mean 'max_length'"),
        ("a", {"tokenize_kwargs": "truncation"}, "must be a dict"),
        ("a", {"truncation": True, "tokenize_kwargs": {"truncation": True}}, "given twice"),
    ],
)
def test_bad_input(extract: Any, inputs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract(inputs, **options)


def test_no_texts(extract: Any) -> None:
    assert extract([]) == []
    assert list(extract(iter([]))) == []


def test_a_graph_with_a_head(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, task=TASK)
    with pytest.raises(BundleError, match="gives logits, and no last_hidden_state"):
        pipeline(model=folder)("a")
    with pytest.raises(TaskError, match="is for feature-extraction, not for text-classification"):
        pipeline("text-classification", folder)
