"""What an actor makes and tells, without a cluster around it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepipe
from edgepipe.errors import BundleError, DependencyError, EdgepipeError, InputError
from edgepipe.mapping.job import read_job
from edgepipe.mapping.output_folder import OutputFolder
from edgepipe.mapping.part_worker import PartReport, WorkerSettings
from edgepipe.mapping.run_job import run_job
from edgepipe.ray.part_actor import NUMBER, REPORT, ActorSettings, PartActor, read_report
from tests.runtime.ray.conftest import PART_ROWS, read_folder


@pytest.fixture
def planned(bundle: Path, texts: Path, tmp_path: Path) -> Path:
    """A job of which nothing is done."""
    run_job(str(bundle), str(texts), str(tmp_path / "out"), part_rows=PART_ROWS, run_parts=lambda *_: iter(()))
    return tmp_path / "out"


def make_actor(bundle: Path, folder: Path, version: str = edgepipe.__version__) -> PartActor:
    session = {"dtype": "fp32", "num_threads": 1}
    return PartActor(ActorSettings(WorkerSettings(str(bundle), str(folder), session), version))


def ask(actor: PartActor, *numbers: int) -> list[str]:
    texts: list[str] = actor({NUMBER: np.array(numbers)}).column(REPORT).to_pylist()
    return texts


def test_parts_are_written_and_reported(bundle: Path, planned: Path, expected: dict[str, bytes]) -> None:
    reports = [read_report(text) for text in ask(make_actor(bundle, planned), 2, 3)]
    assert [(report.number, report.rows, report.failed) for report in reports] == [(2, 8, 0), (3, 8, 0)]
    found = read_folder(planned)
    names = {"part-000002.jsonl", "part-000003.jsonl"}
    assert names < set(found)
    assert {name: found[name] for name in names} == {name: expected[name] for name in names}


def test_a_part_that_is_made_twice_has_the_same_bytes(bundle: Path, planned: Path) -> None:
    ask(make_actor(bundle, planned), 5)
    before = read_folder(planned)
    ask(make_actor(bundle, planned), 5)
    assert read_folder(planned) == before


def raised(actor: PartActor) -> Any:
    (text,) = ask(actor, 0)
    with pytest.raises(EdgepipeError) as error:
        read_report(text)
    return error.value


def test_what_an_actor_cannot_load_comes_back_with_its_class(bundle: Path, planned: Path, tmp_path: Path) -> None:
    assert isinstance(raised(make_actor(tmp_path / "nowhere", planned)), EdgepipeError)
    assert isinstance(raised(make_actor(tmp_path, planned)), BundleError)
    lost = raised(make_actor(bundle, tmp_path / "empty"))
    assert isinstance(lost, InputError)
    assert "must be the same for all machines" in str(lost)


def test_another_edgepipe_is_an_error(bundle: Path, planned: Path) -> None:
    error = raised(make_actor(bundle, planned, "0.0.1"))
    assert isinstance(error, DependencyError)
    assert f"has edgepipe {edgepipe.__version__}, and the job was planned by 0.0.1" in str(error)


def test_a_report_is_read_as_it_was() -> None:
    import json

    report = PartReport(3, 8, 1, 2, 0, 99, 'texts.jsonl, row 2: "x"')
    assert read_report(json.dumps(asdict(report))) == report


def test_a_class_of_another_place_becomes_the_root() -> None:
    with pytest.raises(EdgepipeError, match="too late") as error:
        read_report('{"error_class": "RefusedError", "message": "too late"}')
    assert type(error.value) is EdgepipeError


def test_the_job_lists_what_is_missing(bundle: Path, planned: Path) -> None:
    job = read_job(OutputFolder(str(planned)))
    assert job is not None
    ask(make_actor(bundle, planned), 0)
    assert 0 not in [part.number for part in job.missing_parts()]
