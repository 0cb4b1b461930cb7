"""``edgepipe audit``: an ONNX directory of any tool, looked through."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgepipe.cli.shared_options import complete_folder, device_completion, json_option, load_exporter, quiet_option
from edgepipe.text_table import terminal_width


@click.command()
@click.argument("directory", shell_complete=complete_folder)
@click.argument("model", required=False, shell_complete=complete_folder)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Measure on this file as an export's gate does: text, CSV, TSV, JSONL or CoNLL, with or without labels.",
)
@click.option("--max-drop", type=float, help="What a quantized variant may lose, as for export.")
@click.option("--device", shell_complete=device_completion, help="cpu, cuda or openvino.  [default: cpu]")
@click.option("--repair", type=click.Path(path_type=Path), metavar="OUT", help="Write a bundle of MODEL that passes.")
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights, as for export.")
@json_option
@quiet_option
def audit(
    directory: str,
    model: str | None,
    calibration: Path | None,
    max_drop: float | None,
    device: str | None,
    repair: Path | None,
    allow_pickle: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look through an ONNX DIRECTORY that any tool made: what it can do, what is missing, what each variant gives.

    With the MODEL that it was made from, each variant is compared with it. The exit status is 1 where a variant fails
    or something is wrong.
    """
    found = load_exporter().audit(
        directory,
        model,
        calibration=calibration,
        max_drop=max_drop,
        device=device,
        repair=repair,
        allow_pickle=allow_pickle,
        progress=not quiet,
    )
    click.echo(found.to_json() if as_json else found.table(width=terminal_width(sys.stdout)))
    if repair is not None and not as_json:
        click.echo(f"\nrepaired: {repair}")
    if not found.passed:
        raise click.exceptions.Exit(1)
