"""Progress on a terminal."""

from __future__ import annotations

import re

import pytest

from edgepipe_export.output.progress import Progress, Steps


def test_progress_is_silent_when_piped(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as stages, stages.stage("trace"):
        pass
    assert stages.current == "trace"
    assert capfd.readouterr() == ("", "")


def test_steps_are_told_with_what_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    steps = Steps()
    steps.tick()  # nobody wants to know
    with Progress(shown=True) as stages, stages.stage("verify"), steps.report_to(stages.step, 1000):
        for _ in range(500):
            steps.tick()
        steps.reach(400)  # what was done stays done
        steps.reach(1000)
        steps.tick(5)
    shown = re.findall(r"\r  verify +(\d+) of 1000, (\d+) s left …", capfd.readouterr().err)
    assert shown[0][0] == "1"
    assert len(shown) < 20, "a terminal is slow"
    assert shown[-1] == ("1000", "0")


def test_results_that_are_counted_come_back_in_their_order() -> None:
    told: list[tuple[int, int]] = []
    steps = Steps()
    with steps.report_to(lambda done, total: told.append((done, total)), 3):
        assert steps.count(iter("ab")) == ["a", "b"]
        steps.tick(9)
    steps.tick()
    assert told == [(1, 3), (2, 3), (3, 3)], "never more than there are, and nothing behind the block"


def test_a_note_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=True) as stages:
        stages.note("target", "vnni")
    stages.note("target", "closed")
    assert capfd.readouterr().err == "  target                   vnni\n"
