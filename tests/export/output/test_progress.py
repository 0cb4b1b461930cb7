"""Stages and their steps, in words; how they look is tested with the displays."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

import pytest

from edgepipe_export.output.progress import Progress, Steps
from tests.runtime.processes import run_python


def test_progress_is_silent_when_piped(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as stages, stages.stage("trace"):
        pass
    assert stages.current == "trace"
    assert capfd.readouterr() == ("", "")


def test_stages_are_lines_when_piped_and_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=True) as stages:
        with stages.stage("resolve"):
            pass
        with pytest.raises(ValueError, match="no"), stages.stage("load"):
            raise ValueError("no")
        assert stages.current == "load"
    output, error = capfd.readouterr()
    assert output == ""
    assert re.fullmatch(r"  resolve +\d+\.\d s\n  load +stopped\n", error)


def test_nothing_is_shown_where_it_is_not_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with Progress(shown=False) as stages, stages.stage("verify"):
        stages.step(1, 2)
        stages.note("data", "few")
        assert threading.active_count() == before
    assert capfd.readouterr() == ("", "")


def test_steps_outside_of_a_stage_are_nobodys() -> None:
    with Progress(shown=False) as stages:
        stages.step(1, 2)
        assert stages.current == "start"


def test_results_that_are_counted_come_back_in_their_order() -> None:
    told: list[tuple[int, int]] = []
    steps = Steps()
    with steps.report_to(lambda done, total: told.append((done, total)), 3):
        assert steps.count(iter("ab")) == ["a", "b"]
        steps.tick(9)
    steps.tick()
    assert told == [(1, 3), (2, 3), (3, 3)], "never more than there are, and nothing behind the block"


def test_what_was_done_stays_done() -> None:
    told: list[tuple[int, int]] = []
    steps = Steps()
    steps.tick()  # nobody wants to know
    with steps.report_to(lambda done, total: told.append((done, total)), 9):
        steps.reach(5)
        steps.reach(4)
        steps.tick()
    assert told == [(5, 9), (6, 9)]


def test_a_note_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=True) as stages:
        stages.note("target", "vnni")
    stages.note("target", "closed")
    assert capfd.readouterr().err == "  target                   vnni\n"


LONG = """
    import time
    from edgepipe_export.output import progress_displays
    from edgepipe_export.output.progress import Progress
    progress_displays.PlainLines.interval = 0.01
    progress_displays._pause = lambda elapsed: 0.05
    with Progress(shown=True) as stages:
        stages.expect(3)
        with stages.stage("trace"):
            time.sleep(0.5)
        with stages.stage("choose", undisturbed=True):
            time.sleep(0.5)
            stages.step(1, 2)
        with stages.stage("write"):
            pass
"""


def test_a_long_stage_is_not_silent_and_one_that_measures_is_left_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import textwrap, sys; exec(textwrap.dedent(sys.argv[1]))", LONG],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    trace = re.findall(r"^  trace +0 s \(stage 1 of 3\)$", done.stderr, re.MULTILINE)
    assert 2 <= len(trace) <= 10
    assert re.findall(r"^  choose +(.*)$", done.stderr, re.MULTILINE)[0].startswith("1 of 2, ")
    assert len(re.findall(r"^  choose ", done.stderr, re.MULTILINE)) == 2
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix shell")
@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full"])
def test_an_error_stream_that_cannot_be_written_is_no_failure(redirected: str) -> None:
    program = """
        import subprocess, sys
        program = (
            "from edgepipe_export.output.progress import Progress\\n"
            "with Progress(shown=True) as stages, stages.stage('trace'): pass\\n"
            "print('done', stages.current)"
        )
        command = ["sh", "-c", f'exec "$0" -c "$1" {sys.argv[1]}', sys.executable, program]
        print(subprocess.run(command, capture_output=True, text=True).stdout)
    """
    assert run_python(program, redirected).strip() == "done trace"


def test_a_reader_that_goes_away_is_no_failure() -> None:
    program = """
        import os
        from edgepipe_export.output.progress import Progress
        reading, writing = os.pipe()
        own = os.dup(2)
        os.dup2(writing, 2)
        os.close(writing)
        os.close(reading)
        with Progress(shown=True) as stages:
            for name in ("load", "trace"):
                with stages.stage(name):
                    pass
        os.dup2(own, 2)
        print(stages.current)
    """
    assert run_python(program) == "trace\n"
