"""``edgepipe report``: what was measured of a bundle, as a page, as Markdown or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from edgepipe.cli.shared_options import complete_folder, json_option, load_exporter, quiet_download_option


@click.command()
@click.argument("bundle", shell_complete=complete_folder)
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
@json_option
@quiet_download_option
def report(bundle: str, file_format: str, output: Path | None, as_json: bool) -> None:
    """Show what was measured of a BUNDLE: a page with plots, or the same figures as JSON or Markdown.

    With --json the figures go to standard output; a file is written only with --output.
    """
    exporter = load_exporter()
    if output is not None or (file_format == "html" and not as_json):
        written = exporter.report(bundle, output, format=file_format)
        if not as_json:
            click.echo(written)
            return
    from edgepipe_export.reporting.contents import read_contents
    from edgepipe_export.reporting.report import load_bundle, render_report

    shown = "json" if as_json else file_format
    click.echo(render_report(read_contents(load_bundle(bundle)), shown), nl=False)
