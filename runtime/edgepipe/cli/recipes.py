"""``edgepipe recipes``: the known checkpoints."""

from __future__ import annotations

import click

from edgepipe.text_table import table


@click.command()
def recipes() -> None:
    """List the known checkpoints, with the revision that transformers pins."""
    from edgepipe_models import recipes as known

    rows = [[entry.name, entry.task, entry.model, entry.revision, ",".join(entry.dtypes)] for entry in known()]
    click.echo(table(["recipe", "task", "model", "revision", "dtypes"], rows))
