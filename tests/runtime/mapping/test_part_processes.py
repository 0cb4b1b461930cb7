"""Processes that make parts: all of them once, also where one is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from edgepipe import pipeline
from edgepipe.errors import BundleError, EdgepipeError
from edgepipe.mapping.job import Job
from edgepipe.mapping.part_processes import run_in_processes
from edgepipe.mapping.part_worker import PartWorker, WorkerSettings
from tests.runtime.mapping.test_part_worker import make_job

TEXTS = [f"text {number}" if number % 7 else None for number in range(400)]


def files(job: Job, folder: Path) -> dict[str, bytes]:
    return {job.part_name(part): (folder / "out" / job.part_name(part)).read_bytes() for part in job.parts}


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(each) for each in found if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


@pytest.mark.parametrize("killed", [0, 1])
def test_all_parts_are_those_of_one_process(small: Path, tmp_path: Path, killed: int) -> None:
    job = make_job(small, tmp_path, TEXTS, 10)
    job.write()
    settings = WorkerSettings(str(small), job.folder.address, {"num_threads": 1})
    numbers = []
    for report in run_in_processes(settings, job.parts, 2):
        numbers.append(report.number)
        if len(numbers) == 3 and killed:
            os.kill(children(os.getpid())[0], signal.SIGKILL)
    assert sorted(set(numbers)) == list(range(40))
    made = files(job, tmp_path)
    with pipeline(model=small, truncation=True) as task:
        assert sum(report.empty for report in PartWorker(job, task).run(job.parts)) == TEXTS.count(None)
    assert made == files(job, tmp_path)
    assert not children(os.getpid())


def test_an_error_of_a_process_is_raised(small: Path, tmp_path: Path) -> None:
    job = make_job(small, tmp_path, TEXTS, 10)
    job.write()
    record = tmp_path / "out" / "_edgepipe_job.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "digest": "another"}))
    with pytest.raises(BundleError, match="is another bundle here"):
        list(run_in_processes(WorkerSettings(str(small), job.folder.address), job.parts, 2))
    assert not children(os.getpid())


def test_a_part_that_ends_every_process_ends_the_job(small: Path, tmp_path: Path) -> None:
    """The processes are killed before they have made anything, as where the machine has no memory for them."""
    job = make_job(small, tmp_path, TEXTS, 10)
    job.write()

    class Ending(WorkerSettings):
        """Ends the process that reads it."""

        def __reduce__(self) -> tuple[object, ...]:
            return os._exit, (9,)

    settings = Ending(str(small), job.folder.address)
    with pytest.raises(EdgepipeError, match=r"ended two processes \(exit status 9\)"):
        list(run_in_processes(settings, job.parts, 1))


def test_who_stops_reading_ends_the_processes(small: Path, tmp_path: Path) -> None:
    job = make_job(small, tmp_path, TEXTS, 10)
    job.write()
    running = run_in_processes(WorkerSettings(str(small), job.folder.address), job.parts, 2)
    next(running)
    assert len(children(os.getpid())) == 2
    running.close()  # type: ignore[attr-defined]
    assert not children(os.getpid())
