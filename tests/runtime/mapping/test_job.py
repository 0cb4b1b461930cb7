"""A job is written down whole, read again, and goes on only with what it began with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepipe.errors import InputError
from edgepipe.mapping.job import RECORD, Identity, Job, check_same, describe_file, plan_parts, read_job, remove_job
from edgepipe.mapping.output_folder import OutputFolder
from edgepipe.mapping.sources.dataset import find_dataset_files


def make_job(folder: Path) -> Job:
    (folder / "in").mkdir()
    for name in ("a", "b"):
        (folder / "in" / f"{name}.csv").write_text("text\n" + "good\n" * 5)
    found = find_dataset_files([folder / "in"])
    dataset, parts = plan_parts(found, 2, lambda done, total: None)
    files = [describe_file(file) for file in found]
    identity = Identity("d1", "int8", "text-classification", {"top_k": 2}, {"text": "text"}, 4, files, "csv", 2)
    return Job(identity, dataset.schema, parts, OutputFolder(str(folder / "out")))


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    assert read_job(job.folder) is None
    job.write()
    found = read_job(job.folder)
    assert found == job
    assert found is not None
    assert found.rows == 10
    assert [found.part_name(part) for part in found.parts] == [f"part-{number:06d}.csv" for number in range(6)]
    assert found.dataset.read(1, found.parts[4].slice).num_rows == 2


def test_parts_that_are_there_are_not_missing(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.folder.write("part-000002.csv", lambda path: path.touch())
    job.folder.write(".part-000003.csv.partial-1", lambda path: path.touch())
    assert [part.number for part in job.missing_parts()] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "d2"}, "its digest is 'd1', not 'd2'"),
        ({"dtype": "fp32"}, "its dtype is 'int8', not 'fp32'"),
        ({"options": {}}, "its options is {'top_k': 2}, not {}"),
        ({"columns": {"text": "other"}}, "its columns is"),
        ({"batch_size": 1}, "its batch_size is 4, not 1"),
        ({"files": []}, "the results of other files than these, or a file has changed"),
        ({"part_rows": 3}, "its part_rows is 2, not 3"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_job_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    job = make_job(tmp_path)
    check_same(job, job.identity)
    with pytest.raises(InputError, match=message):
        check_same(job, replace(job.identity, **change))


def test_a_changed_file_is_another_job(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    (tmp_path / "in" / "b.csv").write_text("text\n" + "well\n" * 5)
    with pytest.raises(InputError, match="a file has changed"):
        check_same(
            job, replace(job.identity, files=[describe_file(file) for file in find_dataset_files([tmp_path / "in"])])
        )


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for use in (read_job, remove_job):
        with pytest.raises(InputError, match="is not empty, and no job wrote it"):
            use(job.folder)
    job.write()
    job.folder.write("part-000002.csv", lambda path: path.touch())
    remove_job(job.folder)
    assert job.folder.names() == {"mine.txt"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: "{",
        lambda record: json.dumps({**record, "version": 99}),
        lambda record: json.dumps({**record, "schema": "AAAA"}),
        lambda record: json.dumps({name: value for name, value in record.items() if name != "dtype"}),
        lambda record: json.dumps({**record, "parts": [[1]]}),
        lambda record: "[]",
    ],
    ids=["cut", "version", "schema", "lacks", "parts", "list"],
)
def test_a_damaged_record_is_told(tmp_path: Path, damage: Any) -> None:
    job = make_job(tmp_path)
    job.write()
    path = tmp_path / "out" / RECORD
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(InputError, match=r"_edgepipe_job\.json cannot be read"):
        read_job(job.folder)
