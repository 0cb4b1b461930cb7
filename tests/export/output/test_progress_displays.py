"""How stages look: on a terminal, wide or narrow, coloured or not, and in a log; an interrupt leaves it in order."""

from __future__ import annotations

import io
import re
import sys
import textwrap
from typing import Any

import pytest

from edgepipe_export.output.progress_displays import PlainLines, Stage, format_duration
from tests.runtime.terminal import Shown, run_on_terminal

on_terminals = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.6, "1 h 0 min"),
        (3780, "1 h 3 min"),
    ],
)
def test_durations_have_their_largest_units(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_a_stage_with_steps_says_how_long_it_takes_still() -> None:
    stage = Stage("verify", started=100.0)
    assert stage.describe(112.0) == "12 s"
    stage.total = 40
    assert stage.describe(112.0) == "0 of 40, 12 s"
    stage.done = 10
    assert stage.describe(120.0) == "10 of 40, 1 min 0 s left"
    stage.done = 40
    assert stage.describe(120.0) == "40 of 40, 0 s left"


def test_the_place_of_a_stage_is_said_where_it_is_known() -> None:
    assert Stage("load", 0.0, 2).place() == ""
    assert Stage("load", 0.0, 2, 7).place() == "stage 2 of 7"


def lines_at(times: list[float], **changes: Any) -> list[str]:
    """What plain lines say of one stage that is looked at at these times."""
    stream = io.StringIO()
    lines = PlainLines(stream)  # type: ignore[arg-type]
    stage = Stage("trace", 0.0, **changes)
    for now in times:
        lines.refresh(stage, now)
    return [line.split(maxsplit=1)[1] for line in stream.getvalue().splitlines()]


def test_a_short_stage_has_no_lines_in_between() -> None:
    assert lines_at([0.0, 1.0, 4.9]) == []


def test_a_long_stage_has_a_line_every_few_seconds_and_later_every_half_minute() -> None:
    found = lines_at([float(second) for second in range(601)])
    assert found[:3] == ["5 s", "10 s", "15 s"]
    assert found[-2:] == ["9 min 1 s", "9 min 31 s"]
    assert lines_at([6.0], number=3, count=7) == ["6 s (stage 3 of 7)"]


def test_every_stage_waits_anew() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream)  # type: ignore[arg-type]
    lines.refresh(Stage("load", 0.0), 6.0)
    lines.refresh(Stage("trace", 7.0), 8.0)
    lines.refresh(Stage("trace", 7.0), 9.0)
    assert stream.getvalue().split() == ["load", "6", "s"]


PROGRAM = """
import os, sys, time
from edgepipe_export.output.log import log_to_file
from edgepipe_export.output.progress import Progress
with Progress() as stages, log_to_file(lambda: "test"):
    print("noise")
    os.write(2, b"noise")
    with stages.stage("resolve"):
        time.sleep(0.3)
    stages.expect(2)
    stages.note("data", "a note of several words that does not fit into one line of a narrow terminal")
    with stages.stage("quantize int8-static"):
        time.sleep(0.3)
    with stages.stage("verify"):
        for done in range(1, 41):
            stages.step(done, 40)
            time.sleep(0.01)
print("result")
"""


def show(columns: int = 80, **env: str) -> Shown:
    shown = run_on_terminal([sys.executable, "-c", textwrap.dedent(PROGRAM)], columns=columns, env=env)
    assert shown.status == 0, shown.raw
    return shown


@on_terminals
def test_a_terminal_has_a_bar_that_is_gone_in_the_end() -> None:
    shown = show()
    assert any(re.fullmatch(r"  verify +━+[╸╺]?━* +\d+ of 40, \d+ s left.*", line) for line in shown.lines)
    assert any(re.fullmatch(r"  quantize int8-static +━+ +0 s \(stage 2 of 3\)", line) for line in shown.lines)
    stays = [line for line in shown.lines if "━" not in line]
    assert [line.split()[0] for line in stays if line.startswith("  ")] == ["resolve", "data", "quantize", "verify"]
    assert [line.strip() for line in stays][-1] == "result"
    assert "noise" not in shown.raw
    assert shown.coloured
    assert shown.raw.count("\x1b[?25l") == shown.raw.count("\x1b[?25h") == 1, "the cursor is hidden, and back"


@on_terminals
@pytest.mark.parametrize("columns", [20, 40, 50, 60])
def test_no_line_is_wider_than_a_narrow_terminal(columns: int) -> None:
    shown = show(columns)
    assert max(map(len, shown.lines)) <= columns
    assert any("━" in line for line in shown.lines) == (columns > 20)
    note = re.search(r"data(.*?)quantize", " ".join(line for line in shown.lines if "━" not in line))
    assert note is not None
    assert "narrow terminal" in " ".join(note[1].split())


@on_terminals
def test_no_colour_where_none_is_wanted() -> None:
    shown = show(NO_COLOR="1")
    assert not shown.coloured
    assert any("━" in line for line in shown.lines)


@on_terminals
def test_a_terminal_that_cannot_move_its_cursor_has_lines() -> None:
    shown = show(TERM="dumb")
    assert "\x1b" not in shown.raw
    assert [line.split()[0] for line in shown.lines] == ["resolve", "data", "quantize", "verify", "result"]


@on_terminals
def test_lines_do_without_rich() -> None:
    program = f"import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None\n{PROGRAM}"
    shown = run_on_terminal([sys.executable, "-c", program])
    assert (shown.status, "\x1b" in shown.raw) == (0, False)
    assert [line.split()[0] for line in shown.lines][-1] == "result"


@on_terminals
def test_an_interrupt_leaves_the_terminal_in_order() -> None:
    program = PROGRAM.replace('print("noise")', 'print("noise", flush=True)').replace(
        "time.sleep(0.3)", "time.sleep(20)", 1
    )
    shown = run_on_terminal([sys.executable, "-c", program], interrupt_at="resolve")
    assert shown.status != 0
    assert "KeyboardInterrupt" in shown.raw
    assert any(re.fullmatch(r"  resolve +stopped", line) for line in shown.lines)
    assert shown.raw.count("\x1b[?25l") == shown.raw.count("\x1b[?25h") == 1
