"""``edgepipe recipes``: a line for each known checkpoint."""

from __future__ import annotations

from click.testing import CliRunner

from edgepipe.cli.main import cli
from edgepipe_models import recipes


def test_every_recipe_has_a_line() -> None:
    result = CliRunner().invoke(cli, ["recipes"], catch_exceptions=False)
    head, _, *rows = result.output.splitlines()
    assert head.split() == ["recipe", "task", "model", "revision", "dtypes"]
    assert [row.split() for row in rows] == [
        [known.name, known.task, known.model, known.revision, ",".join(known.dtypes)] for known in recipes()
    ]
