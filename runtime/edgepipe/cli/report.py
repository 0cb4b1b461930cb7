"""``edgepipe report``: a page with what was measured of a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edgepipe.cli.shared_options import load_exporter


@click.command()
@click.argument("bundle")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="The page; its JSON goes beside it.",
)
def report(bundle: str, output: Path) -> None:
    """Show what was measured of a BUNDLE: a page, and the same as JSON beside it."""
    click.echo(load_exporter().report(bundle, output))
