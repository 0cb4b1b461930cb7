"""Parts as files, with what came of their rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pyarrow import parquet

from edgepipe import Bundle, pipeline
from edgepipe.errors import BundleError, InputError, NotFiniteError
from edgepipe.mapping.job import Identity, Job, describe_file, plan_parts
from edgepipe.mapping.output_folder import OutputFolder
from edgepipe.mapping.part_files import METADATA
from edgepipe.mapping.part_worker import PartWorker, WorkerSettings, load_worker
from edgepipe.mapping.sources.dataset import find_dataset_files
from tests.runtime.small_bundle import write_bundle

ROWS = ["good", None, "", "bad", "a long text that the model has no room for, as it takes sixteen tokens and no more"]


def make_job(bundle: Path, folder: Path, rows: Sequence[object] = ROWS, part_rows: int = 2) -> Job:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps({"id": number, "cell": row}) + "\n" for number, row in enumerate(rows)))
    files = find_dataset_files([path])
    dataset, parts = plan_parts(files, part_rows, lambda done, total: None)
    identity = Identity(
        Bundle.load(bundle).digest, "fp32", "text-classification", {"truncation": True}, {"text": "cell"}, 1,
        [describe_file(file) for file in files], "parquet", part_rows,
    )  # fmt: skip
    return Job(identity, dataset.schema, parts, OutputFolder(str(folder / "out")))


def test_parts_are_written_with_reports_of_their_rows(small: Path, tmp_path: Path) -> None:
    job = make_job(small, tmp_path)
    with pipeline(model=small, truncation=True) as task:
        found = list(PartWorker(job, task).run(job.parts))
        expected = [task(row)[0]["label"] if row else None for row in ROWS]
    assert [report.number for report in found] == [0, 1, 2]
    assert [(report.rows, report.empty, report.failed, report.cut) for report in found] == [
        (2, 1, 0, 0),
        (2, 1, 0, 0),
        (1, 0, 0, 1),
    ]
    tables = [parquet.read_table(tmp_path / "out" / job.part_name(part)) for part in job.parts]
    assert [label for table in tables for label in table["label"].to_pylist()] == expected
    description = json.loads(tables[0].schema.metadata[METADATA])
    assert (description["digest"], description["dtype"]) == (job.identity.digest, "fp32")
    assert description["options"] == {"truncation": True}


def test_a_row_that_fails_is_told_with_its_place(small: Path, tmp_path: Path) -> None:
    job = make_job(small, tmp_path, [None, None, 3])
    with pipeline(model=small) as task:
        assert [report.failed for report in PartWorker(job, task).run(job.parts)] == [0, 1]
        with pytest.raises(InputError, match=r"in\.jsonl, row 3: the column cell has 3, expected a text"):
            list(PartWorker(job, task, fail_fast=True).run(job.parts))


def test_a_model_of_which_nothing_is_finite_ends_the_job(small: Path, tmp_path: Path) -> None:
    job = make_job(small, tmp_path, ["good", "bad"])

    def fail(pieces: object) -> list[object]:
        raise NotFiniteError("the output logits is not finite")

    with pipeline(model=small, truncation=True) as task:
        task.run_batch = fail  # type: ignore[method-assign,assignment]
        with pytest.raises(BundleError, match="no row of part 0 has a result: the output logits is not finite"):
            list(PartWorker(job, task).run(job.parts))


def test_another_process_loads_the_job_and_the_same_bundle(small: Path, tmp_path: Path) -> None:
    job = make_job(small, tmp_path)
    settings = WorkerSettings(str(small), job.folder.address, {"num_threads": 1})
    with pytest.raises(InputError, match="holds no job, seen from here"):
        load_worker(settings)
    job.write()
    worker = load_worker(settings)
    assert [report.number for report in worker.run(job.parts[:1])] == [0]
    worker.close()
    other = write_bundle(tmp_path / "other", dtypes=("fp32", "int8"))
    with pytest.raises(BundleError, match="is another bundle here"):
        load_worker(WorkerSettings(str(other), job.folder.address))
