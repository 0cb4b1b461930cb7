"""Where the time of a request goes, with a clock that is told what to say."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import MANIFEST_NAME, PROBES_NAME
from edgepipe.bundle.manifest import Manifest
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.selection.request_time import RequestTime, RequestTimer, measure_requests, time_requests


class Clock:
    """Seconds that go on when someone works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowSession:
    """A session and its binding that take three seconds a run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def run(self, feeds: Any = None) -> None:
        self._clock.now += 3

    def bind(self) -> SlowSession:
        return SlowSession(self._clock)


class SlowModel:
    """What a pipeline runs."""

    def __init__(self, clock: Clock) -> None:
        self.session = SlowSession(clock)


class SlowTask:
    """A pipeline that takes two seconds to encode, runs its graph twice, and takes one second for the result."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.model = SlowModel(clock)
        self.asked: list[tuple[Any, Any]] = []

    def encode(self, item: Any) -> None:
        self._clock.now += 2

    def __call__(self, item: Any, **options: Any) -> None:
        self.asked.append((item, options))
        self.encode(item)
        self.model.session.run({})
        self.model.session.bind().run()
        self._clock.now += 1


def test_each_part_is_timed_where_the_pipeline_calls_it() -> None:
    clock = Clock()
    task = SlowTask(clock)
    assert RequestTimer(task, clock).run(["a", "b"], {"top_k": 1}) == (9, 2, 6)
    assert task.asked == [("a", {"top_k": 1}), ("b", {"top_k": 1})]


def test_medians_are_in_milliseconds_and_the_rest_is_what_is_left() -> None:
    clock = Clock()
    told: list[tuple[int, int]] = []
    found = time_requests(
        {"fp32": SlowTask(clock), "int8": SlowTask(clock)}, ["a"], {}, rounds=3, seconds=1000, settle=0, clock=clock,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert found == dict.fromkeys(("fp32", "int8"), RequestTime(9000, 0.0, 2000, 6000))
    assert found["fp32"].rest_ms == 1000
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_rounds_end_when_their_time_is_over() -> None:
    clock = Clock()
    told: list[int] = []
    time_requests({"fp32": SlowTask(clock)}, ["a"], {}, rounds=9, seconds=20, clock=clock,
                  progress=lambda done, total: told.append(done))  # fmt: skip
    assert told == [1, 2, 3]
    told.clear()
    time_requests({"fp32": SlowTask(clock)}, ["a"], {}, rounds=9, seconds=0, clock=clock,
                  progress=lambda done, total: told.append(done))  # fmt: skip
    assert told == [1, 2]


def test_the_rest_is_never_less_than_nothing() -> None:
    assert RequestTime(1.0, 0.0, 0.6, 0.5).rest_ms == 0


TEXTS = Dataset(tuple(f"text number {number} " + "and more " * number for number in range(20)), None, "texts")


def measure(bundle: Bundle, dtypes: tuple[str, ...]) -> dict[str, RequestTime]:
    assert bundle.task is not None
    return measure_requests(bundle, bundle.task, dtypes, TEXTS, lambda done, total: None)


def assert_has_parts(time: RequestTime) -> None:
    assert min(time.tokenizer_ms, time.graph_ms, time.total_ms) > 0
    assert time.tokenizer_ms + time.graph_ms < 2 * time.total_ms  # each is a median of its own


def test_the_parts_of_an_encoder(exported: Bundle) -> None:
    found = measure(exported, ("fp32", "int8"))
    assert list(found) == ["fp32", "int8"]
    for time in found.values():
        assert_has_parts(time)


@pytest.mark.parametrize("family", ["gpt2", "bart"])
def test_the_parts_of_a_model_that_writes(writer: Any, family: str) -> None:
    _, _, bundle = writer(family)
    assert_has_parts(measure(bundle, ("fp32",))["fp32"])


def test_a_bundle_that_is_being_made_has_no_probes_yet(exported: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported.path, tmp_path / "bundle"))
    manifest = Manifest.from_json((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    files = tuple(entry for entry in manifest.files if entry.path != PROBES_NAME)
    (folder / MANIFEST_NAME).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that they are missing is told to those who load a finished one
        assert_has_parts(measure(Bundle.load(folder), ("fp32",))["fp32"])
