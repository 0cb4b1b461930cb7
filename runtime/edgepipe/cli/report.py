"""``edgepipe report``: what was measured of a bundle, as a page, as Markdown or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from edgepipe.cli.shared_options import load_exporter


@click.command()
@click.argument("bundle")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["html", "json", "md"]),
    default="html",
    show_default=True,
    help="html: a page, and its JSON beside it.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="The file.  [default: report.html; json and md go to standard output]",
)
def report(bundle: str, file_format: str, output: Path | None) -> None:
    """Show what was measured of a BUNDLE: a page with plots, or the same figures as JSON or Markdown."""
    exporter = load_exporter()
    if output is None and file_format != "html":
        from edgepipe_export.reporting.contents import read_contents
        from edgepipe_export.reporting.report import load_bundle, render_report

        click.echo(render_report(read_contents(load_bundle(bundle)), file_format), nl=False)
        return
    click.echo(exporter.report(bundle, output, format=file_format))
