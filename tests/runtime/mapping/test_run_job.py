"""Jobs from beginning to end: every row once, in order, whole; again from where they were."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from edgepipe import pipeline
from edgepipe.errors import EdgepipeError, InputError
from edgepipe.mapping.job import RECORD
from edgepipe.mapping.run_job import run_job

TEXTS = [f"some text {number}" if number % 9 else None for number in range(60)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(TEXTS)))
    return path


def expected(bundle: Path, texts: list[str | None] = TEXTS) -> list[dict[str, Any]]:
    with pipeline(model=bundle) as task:
        return [
            {"id": number, "text": text, **(task(text)[0] if text else {"label": None, "score": None}), "error": None}
            for number, text in enumerate(texts)
        ]


def read_parts(folder: Path) -> list[dict[str, Any]]:
    parts = sorted(folder.glob("part-*"))
    return [json.loads(line) for part in parts for line in part.read_text(encoding="utf-8").splitlines()]


def test_a_folder_gets_a_file_for_each_part(small: Path, rows: Path, tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    report = run_job(str(small), rows, str(tmp_path / "out"), part_rows=25, show=lambda *step: shown.append(step))
    assert read_parts(tmp_path / "out") == expected(small)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        RECORD, "part-000000.jsonl", "part-000001.jsonl", "part-000002.jsonl"
    ]  # fmt: skip
    assert (report.rows, report.kept, report.empty, report.failed) == (60, 0, TEXTS.count(None), 0)
    assert report.tokens == sum(len(pipeline(model=small).tokenizer(text)["input_ids"]) for text in TEXTS if text)
    assert shown[0] == ("reading files", 0, 1)
    assert [step[1:] for step in shown[1:]] == [(0, 60), (25, 60), (50, 60), (60, 60)]


@pytest.mark.parametrize("end", ["parquet", "jsonl", "csv"])
def test_one_file_has_all_parts_in_order(small: Path, rows: Path, tmp_path: Path, end: str) -> None:
    path = tmp_path / f"out.{end}"
    run_job(str(small), rows, str(path), part_rows=7)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", path.name]
    wanted = expected(small)
    if end == "parquet":
        assert parquet.read_table(path).to_pylist() == wanted
    elif end == "jsonl":
        assert [json.loads(line) for line in path.read_text().splitlines()] == wanted
    else:
        with path.open(newline="") as stream:
            found = list(csv.DictReader(stream))
        assert [row["label"] or None for row in found] == [row["label"] for row in wanted]
        assert [row["id"] for row in found] == [str(row["id"]) for row in wanted]


@pytest.mark.parametrize("processes", [1, 2])
def test_it_goes_on_where_it_was(small: Path, rows: Path, tmp_path: Path, processes: int) -> None:
    """Stopped at each of its parts in turn, it ends with the same files as one that was not stopped."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_job(str(small), rows, str(whole), part_rows=10)

    def stop(step: str, done: int, total: int) -> None:
        if step not in ("reading files", "rows"):
            raise KeyboardInterrupt

    kept = []
    for _ in range(20):
        try:
            report = run_job(str(small), rows, str(stopped), part_rows=10, processes=processes, show=stop)
        except KeyboardInterrupt:
            kept.append(len(list(stopped.glob("part-*"))))
            continue
        break
    assert report.kept == report.rows == 60
    assert kept == sorted(set(kept))
    assert {file.name: file.read_bytes() for file in stopped.iterdir()} == {
        file.name: file.read_bytes() for file in whole.iterdir()
    }


def test_a_part_that_was_removed_is_made_again(small: Path, rows: Path, tmp_path: Path) -> None:
    run_job(str(small), rows, str(tmp_path / "out"), part_rows=10)
    before = read_parts(tmp_path / "out")
    (tmp_path / "out" / "part-000003.jsonl").unlink()
    (tmp_path / "out" / ".part-000003.jsonl.partial-ff").write_text("half")
    report = run_job(str(small), rows, str(tmp_path / "out"), part_rows=10)
    assert (report.rows, report.kept) == (60, 50)
    assert read_parts(tmp_path / "out") == before
    assert not list((tmp_path / "out").glob(".part*"))


def test_another_job_is_refused_or_begins_anew(small: Path, rows: Path, tmp_path: Path) -> None:
    run_job(str(small), rows, str(tmp_path / "out"), part_rows=10)
    with pytest.raises(InputError, match="holds the results of another job: its options is"):
        run_job(str(small), rows, str(tmp_path / "out"), part_rows=10, top_k=2)
    report = run_job(str(small), rows, str(tmp_path / "out"), part_rows=30, top_k=2, overwrite=True)
    assert (report.kept, len(list((tmp_path / "out").glob("part-*")))) == (0, 2)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("in.jsonl", {}, "is there already; name another file"),
        ("nowhere/out.csv", {}, "there is no folder"),
        ("out.csv", {"format": "parquet"}, "ends in .csv, and the format is parquet"),
        ("memory://x/out.csv", {}, "is one file at an address"),
        ("out", {"format": "xml"}, "the format is one of parquet, jsonl, csv"),
        ("out", {"columns": ["nothing"]}, "has no column 'nothing', it has id, text"),
        ("out", {"columns": ["text", "id"], "pooling": "mean"}, "pooling is for vectors"),
        ("out", {"nothing": 1}, "nothing"),
    ],
    ids=["there", "folder", "format", "address", "unknown", "column", "vectors", "option"],
)
def test_what_is_refused(
    small: Path, rows: Path, tmp_path: Path, output: str, options: Mapping[str, Any], message: str
) -> None:
    before = rows.read_bytes()
    path = output if "://" in output else str(tmp_path / output)
    with pytest.raises(EdgepipeError, match=message):
        run_job(str(small), rows, path, **options)
    assert rows.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_address_is_read_and_written(small: Path, tmp_path: Path) -> None:
    with fsspec.open("memory://edgepipe-map/in/a.csv", "wt") as stream:
        stream.write("text\n" + "good\n" * 5)
    run_job(str(small), "memory://edgepipe-map/in", "memory://edgepipe-map/out", part_rows=2, format="parquet")
    report = run_job(str(small), "memory://edgepipe-map/in", "memory://edgepipe-map/out", part_rows=2, format="parquet")
    assert (report.rows, report.kept) == (5, 5)
    memory = fsspec.filesystem("memory")
    names = sorted(name.rsplit("/", 1)[-1] for name in memory.ls("/edgepipe-map/out", detail=False))
    assert names == [RECORD, *(f"part-00000{number}.parquet" for number in range(3))]
    with memory.open("/edgepipe-map/out/part-000002.parquet") as stream:
        assert parquet.read_table(stream)["label"].to_pylist() == [pipeline(model=small)("good")[0]["label"]]


def test_vectors_are_lists_that_any_pyarrow_reads(tiny_bundles: Mapping[str, Path], tmp_path: Path) -> None:
    """Before pyarrow 26 a file could not be read in which a list of a fixed size is null, as where there is no text."""
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n{"text": null}\n')
    run_job(str(tiny_bundles["sentences"]), tmp_path / "in.jsonl", str(tmp_path / "out.parquet"))
    found = parquet.read_table(tmp_path / "out.parquet")["embedding"]
    with pipeline("feature-extraction", tiny_bundles["sentences"]) as task:
        vector = task.embed("good")
    assert found.type == pa.list_(found.type.value_type)
    assert found.to_pylist() == [vector.tolist(), None]


def test_a_table_without_rows_gives_one(small: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\n")
    report = run_job(str(small), tmp_path / "in.csv", str(tmp_path / "out"))
    assert report.rows == 0
    with pytest.raises(InputError, match=r"nothing was written to .*: there are no rows"):
        run_job(str(small), tmp_path / "in.csv", str(tmp_path / "out.csv"))


def test_a_disk_that_fills_loses_no_part(small: Path, rows: Path, tmp_path: Path) -> None:
    """The output lies on a file system of a few pages, which takes some parts and not all."""
    import resource
    import signal

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails as on a full disk
    run_job(str(small), rows, str(tmp_path / "whole"), part_rows=30)
    largest = max(file.stat().st_size for file in (tmp_path / "whole").glob("part-*"))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, limit[1]))
        with pytest.raises(InputError, match="cannot be written: File too large; make room"):
            run_job(str(small), rows, str(tmp_path / "out"), part_rows=30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    report = run_job(str(small), rows, str(tmp_path / "out"), part_rows=30)
    assert report.rows == 60
    assert read_parts(tmp_path / "out") == read_parts(tmp_path / "whole")
