"""A short soak of each kind, with a fixed seed; ``make soak`` runs more."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("soak reads /proc", allow_module_level=True)

from tests.soak.calls import Call, make_calls, open_pipelines, write_bundles
from tests.soak.kinds import Soak, run_loads, run_requests, run_threads
from tests.soak.process_state import ProcessState, find_growth

SEED = 1


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_bundles(tmp_path_factory.mktemp("soak"))


@pytest.fixture(scope="module")
def pipelines(bundles: dict[str, Path]) -> dict[str, Any]:
    return open_pipelines(bundles)


@pytest.fixture(scope="module")
def calls(pipelines: dict[str, Any]) -> list[Call]:
    return make_calls(pipelines, SEED)


def test_calls_from_several_threads(pipelines: dict[str, Any], calls: list[Call]) -> None:
    soak = Soak("threads", 6000, SEED)
    run_threads(soak, pipelines, calls, 4)
    assert soak.wrong == []
    assert soak.done >= soak.wanted
    assert len(soak.counts) == len(pipelines)


def test_calls_one_after_another(pipelines: dict[str, Any], calls: list[Call]) -> None:
    soak = Soak("requests", 6000, SEED)
    run_requests(soak, pipelines, calls)
    assert soak.wrong == []
    assert soak.done >= soak.wanted


def test_bundles_that_are_loaded_and_closed(bundles: dict[str, Path], calls: list[Call]) -> None:
    soak = Soak("loads", 60, SEED)
    run_loads(soak, bundles, calls)
    assert [*soak.wrong, *find_growth(soak.samples)] == []
    assert soak.done == soak.wanted


def test_another_result_is_noticed(pipelines: dict[str, Any], calls: list[Call]) -> None:
    soak = Soak("requests", 1, SEED)
    run_requests(soak, pipelines, [replace(calls[0], result=None)])
    assert len(soak.wrong) == 1


def test_what_grows_is_noticed() -> None:
    flat = [ProcessState(done, 100_000_000, 4, 6) for done in range(100)]
    assert find_growth(flat) == []
    grown = [replace(each, resident=each.resident + each.done * 200_000) for each in flat]
    assert "memory grew by" in find_growth(grown)[0]
    assert find_growth([*flat[:-1], replace(flat[-1], files=9)]) == ["files: 6 after the warm-up, 9 at the end"]
