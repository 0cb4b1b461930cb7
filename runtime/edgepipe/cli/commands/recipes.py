"""``edgepipe recipes``: the known checkpoints."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from edgepipe.cli.shared_options import echo_json, json_option
from edgepipe.text_table import table, terminal_width


@click.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the known checkpoints, with the revision that transformers pins."""
    from edgepipe_models import recipes as known

    if as_json:
        echo_json({"recipes": [asdict(entry) for entry in known()]})
        return
    rows = [[entry.name, entry.task, entry.model, entry.revision, ",".join(entry.dtypes)] for entry in known()]
    click.echo(table(["recipe", "task", "model", "revision", "dtypes"], rows, width=terminal_width(sys.stdout)))
