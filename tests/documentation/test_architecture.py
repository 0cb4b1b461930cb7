"""docs/architecture.md is the tree: its rooms, its arrows, and the two walks through them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.architecture.rooms import EXPORTER, FOUNDATION, RUNTIME, arrows
from tests.documentation.pages import REPOSITORY, text
from tests.tiny import build

PAGE = "docs/architecture.md"


def section(title: str) -> str:
    return text(PAGE).split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "table"),
    [("The rooms of the runtime", RUNTIME), ("The rooms of the exporter", EXPORTER)],
    ids=["runtime", "exporter"],
)
def test_every_room_has_a_line(title: str, table: Mapping[str, str]) -> None:
    lines = re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)
    assert sorted(lines) == sorted(table), f"{PAGE}: one line a room of tests/architecture/rooms.py"


def test_the_drawing_has_the_arrows_of_the_table() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", section("The drawing"), re.MULTILINE))
    runtime = {arrow for arrow in arrows(RUNTIME) if arrow[0] not in FOUNDATION.split()}
    expected = runtime | arrows(EXPORTER)
    assert drawn == expected, (
        f"{PAGE}: arrows missing {sorted(expected - drawn)}, arrows too many {sorted(drawn - expected)}"
    )


def walk_on_the_page(title: str) -> list[str]:
    return re.findall(r"^\d+\. `([\w/.]+)`", section(title), re.MULTILINE)


def walk_of(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.documentation.walk", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.splitlines()


def assert_in_order(told: list[str], entered: list[str]) -> None:
    assert len(set(told)) == len(told), "no file twice"
    assert [path for path in entered if path in told] == told, (
        f"{PAGE} tells another order than the command takes; python -m tests.documentation.walk prints it"
    )


def test_the_walk_of_a_text() -> None:
    assert_in_order(walk_on_the_page("A text in `edgepipe run`"), walk_of("run", "I love this"))


def test_the_walk_of_a_checkpoint(tmp_path: Path) -> None:
    build("bert", directory=tmp_path / "checkpoint")
    arguments = ("export", str(tmp_path / "checkpoint"), str(tmp_path / "bundle"), "--dtype", "fp32,int8")
    entered = walk_of(*arguments, "--max-drop", "90")
    assert_in_order(walk_on_the_page("A checkpoint in `edgepipe export`"), entered)
