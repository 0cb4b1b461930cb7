"""A few cases of each attack, with a fixed seed; ``make chaos`` runs more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("chaos needs Linux", allow_module_level=True)

from tests.chaos import clocks, disks, kills, threads
from tests.chaos.exporters import Exporter
from tests.chaos.kills import Kill
from tests.chaos.run import draw, run_cases

ATTACKS = {"kills": (kills.run, 12), "disks": (disks.run, 16), "clocks": (clocks.run, 6), "threads": (threads.run, 5)}


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    made = Exporter("light", tmp_path_factory.mktemp("chaos"))
    yield made
    made.close()


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_wrong(name: str, exporter: Exporter, tmp_path: Path) -> None:
    run, cases = ATTACKS[name]
    outcome = run(exporter, tmp_path, 1, range(cases), quiet=True)
    assert outcome.wrong == []
    assert outcome.cases == cases
    assert not outcome.stopped


def test_the_same_seed_gives_the_same_plan() -> None:
    plan = [Kill.draw(draw(5, "kills", case)) for case in range(20)]
    assert plan == [Kill.draw(draw(5, "kills", case)) for case in range(20)]
    assert plan != [Kill.draw(draw(6, "kills", case)) for case in range(20)]
    assert {kill.signal for kill in plan} > {"SIGKILL"}


def test_ctrl_c_ends_with_the_counts_so_far() -> None:
    def run(case: int, counts: object) -> None:
        if case == 3:
            raise KeyboardInterrupt

    outcome = run_cases("kills", range(10), run, quiet=True)
    assert (outcome.cases, outcome.stopped) == (3, True)


def test_what_is_wrong_is_kept_with_its_case() -> None:
    outcome = run_cases("kills", range(3), lambda case, _: "damaged" if case == 1 else None, quiet=True)
    assert outcome.wrong == [(1, "damaged")]
