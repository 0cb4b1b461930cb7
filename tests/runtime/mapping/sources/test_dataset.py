"""Files with the same columns as one table, whatever their format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from edgepipe.errors import InputError
from edgepipe.mapping.sources.dataset import Dataset, find_dataset_files, scan_files


def read_all(dataset: Dataset, slices: object) -> list[dict[str, object]]:
    return [
        row
        for file, own in enumerate(slices)  # type: ignore[arg-type,var-annotated]
        for part in own
        for row in dataset.read(file, part).to_pylist()
    ]


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())


def test_files_of_several_formats_with_folders_that_are_columns(tmp_path: Path) -> None:
    write(tmp_path, "lang=de/a.csv", "id,text\n1,eins\n2,zwei\n")
    write(tmp_path, "lang=en/b.csv.gz", "text,id\nthree,3\n")
    parquet.write_table(pa.table({"id": ["4"], "text": ["four"]}), tmp_path / "lang=en" / "c.parquet")
    write(tmp_path, "lang=en/d.csv", "")
    dataset, slices = scan_files(find_dataset_files([tmp_path]), most_rows=1, most_bytes=1000)
    assert dataset.schema.names == ["id", "text", "lang"]
    assert read_all(dataset, slices) == [
        {"id": "1", "text": "eins", "lang": "de"},
        {"id": "2", "text": "zwei", "lang": "de"},
        {"id": "3", "text": "three", "lang": "en"},
        {"id": "4", "text": "four", "lang": "en"},
    ]


def test_json_lines_may_lack_columns_and_widen_types(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", json.dumps({"text": "x", "n": 1}))
    write(tmp_path, "b.jsonl", json.dumps({"text": "y", "n": 0.5, "more": None}))
    dataset, slices = scan_files(find_dataset_files([tmp_path]), most_rows=9, most_bytes=1000)
    assert read_all(dataset, slices) == [
        {"text": "x", "n": 1.0, "more": None},
        {"text": "y", "n": 0.5, "more": None},
    ]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("id\n1\n", "b.csv lacks text, other than .*a.csv"),
        ("id,text,more,other\n1,x,2,3\n", "b.csv has more, other too"),
    ],
    ids=["lacks", "more"],
)
def test_files_with_other_columns_are_refused(tmp_path: Path, second: str, message: str) -> None:
    write(tmp_path, "a.csv", "id,text\n1,x\n")
    write(tmp_path, "b.csv", second)
    with pytest.raises(InputError, match=message):
        scan_files(find_dataset_files([tmp_path]), most_rows=9, most_bytes=1000)


def test_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": [1], "text": ["x"]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"id": ["1"], "text": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b.parquet has a column of another type than .*a.parquet: .*id"):
        scan_files(find_dataset_files([tmp_path]), most_rows=9, most_bytes=1000)


def test_a_folder_that_names_a_column_of_its_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "id=1/a.csv", "id,text\n1,x\n")
    with pytest.raises(InputError, match="has a column 'id', and so has the name of its folder"):
        scan_files(find_dataset_files([tmp_path]), most_rows=9, most_bytes=1000)


def test_an_empty_file_alone_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", "")
    with pytest.raises(InputError, match="has no columns: it is empty"):
        scan_files(find_dataset_files([tmp_path]), most_rows=9, most_bytes=1000)


def test_a_file_that_changed_is_told(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "text\nx\n")
    dataset, [[part]] = scan_files(find_dataset_files([tmp_path]), most_rows=9, most_bytes=1000)
    write(tmp_path, "a.csv", "text\nx\nmore\n")
    with pytest.raises(InputError, match="has changed since the job began"):
        dataset.read(0, part)


def test_progress_is_told(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write(tmp_path, name, "text\nx\n")
    told: list[tuple[int, int]] = []
    scan_files(
        find_dataset_files([tmp_path]),
        most_rows=9,
        most_bytes=1000,
        show=lambda done, total: told.append((done, total)),
    )
    assert told == [(0, 2), (1, 2)]
