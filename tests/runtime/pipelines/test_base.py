"""The progress bar: on request, on standard error, and nothing else changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import DependencyError
from tests.runtime.small_bundle import write_bundle

TEXTS = ["a quiet triumph", "dull", "I loved it", "so long, so very long"] * 5

pytest.importorskip("tqdm")


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pipeline(model=write_bundle(tmp_path_factory.mktemp("progress")))


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_list_is_counted(classify: Any, capfd: pytest.CaptureFixture[str], batch_size: int) -> None:
    expected = classify(TEXTS, batch_size=batch_size)
    assert capfd.readouterr() == ("", ""), "without asking there is no bar"
    assert classify(TEXTS, batch_size=batch_size, progress=True) == expected
    said = capfd.readouterr()
    assert said.out == ""
    assert "20/20" in said.err


@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_iterator_is_counted_as_it_is_read(
    classify: Any, capfd: pytest.CaptureFixture[str], batch_size: int
) -> None:
    results = classify(iter(TEXTS), batch_size=batch_size, progress=True)
    assert next(results) == classify(TEXTS[0])[0]
    assert len(list(results)) == len(TEXTS) - 1
    assert "20 inputs" in capfd.readouterr().err


def test_one_text_needs_no_bar(classify: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert classify(TEXTS[0], progress=True) == classify(TEXTS[0])
    assert classify([], progress=False) == []
    assert capfd.readouterr().err == ""


def test_without_tqdm_the_message_says_so(classify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(DependencyError, match="pip install tqdm"):
        classify(TEXTS, progress=True)


def test_tqdm_is_not_loaded_unasked(classify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(classify(TEXTS)) == len(TEXTS)


def test_labels_and_a_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Zero-shot classification reads its options before the others do."""
    config: dict[str, object] = {"id2label": {"0": "contradiction", "1": "neutral", "2": "entailment"}}
    classify = pipeline("zero-shot-classification", write_bundle(tmp_path / "nli", config=config))
    assert len(classify(TEXTS, ["film", "food"], progress=True)) == len(TEXTS)
    assert "20/20" in capfd.readouterr().err
