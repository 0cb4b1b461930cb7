"""``edgepipe recipes``: a line for each known checkpoint."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from edgepipe.cli.main import cli
from edgepipe_models import recipes
from tests.runtime.terminal import run_on_terminal


def test_every_recipe_has_a_line() -> None:
    result = CliRunner().invoke(cli, ["recipes"], catch_exceptions=False)
    head, _, *rows = result.output.splitlines()
    assert head.split() == ["recipe", "task", "model", "revision", "dtypes"]
    assert [row.split() for row in rows] == [
        [known.name, known.task, known.model, known.revision, ",".join(known.dtypes)] for known in recipes()
    ]


def test_json_has_the_same() -> None:
    result = CliRunner().invoke(cli, ["recipes", "--json"], catch_exceptions=False)
    found = json.loads(result.stdout)["recipes"]
    assert [(entry["name"], entry["model"], tuple(entry["dtypes"])) for entry in found] == [
        (known.name, known.model, known.dtypes) for known in recipes()
    ]
    assert {"name", "task", "model", "revision", "dtypes"} <= set(found[0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_narrow_terminal_gets_a_list_for_each() -> None:
    shown = run_on_terminal([sys.executable, "-m", "edgepipe", "recipes"], columns=60)
    assert shown.status == 0
    assert not shown.coloured
    names = [line.split()[1] for line in shown.lines if line.startswith("recipe ")]
    assert names == [known.name for known in recipes()]
    assert all(len(line) <= 60 or len(line.split()) == 2 for line in shown.lines), "a name is not cut"
