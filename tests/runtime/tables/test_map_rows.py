"""A task over rows: each leaves with its result, also those that have no text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.tables.input_rows import InputRow
from edgepipe.tables.map_rows import map_rows, spread_result
from tests.runtime.small_bundle import write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("small") / "bundle")


def mapped(task: Any, texts: list[str | None], columns: tuple[str, ...] = ("text",)) -> tuple[int, list[Any]]:
    written: list[Any] = []
    rows: Iterator[InputRow] = (InputRow(text, dict.fromkeys(columns, text)) for text in texts)
    return map_rows(task, rows, lambda row: written.append(dict(row)), columns), written


@pytest.mark.parametrize("batch_size", [1, 4])
def test_rows_come_in_their_order_with_their_results(bundle: Path, batch_size: int) -> None:
    task = pipeline(model=bundle, batch_size=batch_size)
    texts = [None, "I love this", None, None, "a longer text than that", "bad", None]
    empty, rows = mapped(task, texts)
    none = {"label": None, "score": None}
    assert empty == 4
    results = iter(task([text for text in texts if text is not None]))
    assert rows == [{"text": text, **(none if text is None else next(results))} for text in texts]


def test_a_result_has_a_name_that_no_column_has(bundle: Path) -> None:
    task = pipeline(model=bundle)
    _, [row] = mapped(task, ["good"], ("text", "label", "predicted_label"))
    assert list(row) == ["text", "label", "predicted_label", "predicted_predicted_label", "score"]
    assert row["predicted_predicted_label"] == task("good")[0]["label"]


def test_several_labels_are_one_cell(bundle: Path) -> None:
    task = pipeline(model=bundle, top_k=2)
    assert mapped(task, ["good", "bad"])[1] == [{"text": text, "output": task([text])[0]} for text in ("good", "bad")]


def test_rows_without_any_text_have_no_results(bundle: Path) -> None:
    assert mapped(pipeline(model=bundle), [None, None]) == (2, [{"text": None}] * 2)


class Writer:
    """What is asked of a task that writes text."""

    generates, options = True, {"num_return_sequences": 1}


def test_one_text_is_a_cell() -> None:
    writer: Any = Writer()
    assert spread_result(writer, [{"generated_text": "a"}]) == {"generated_text": "a"}
    two = [{"generated_text": "a"}, {"generated_text": "b"}]
    assert spread_result(writer, two) == {"output": two}
