"""``edgepipe audit``: an ONNX directory of any tool, looked through."""

from __future__ import annotations

from pathlib import Path

import click

from edgepipe.cli.shared_options import (
    allow_pickle_option,
    calibration_option,
    check_page,
    complete_folder,
    device_completion,
    echo_comparison,
    json_option,
    load_exporter,
    max_drop_option,
    quiet_option,
    report_option,
    require_passed,
    write_page,
)


@click.command()
@click.argument("directory", shell_complete=complete_folder)
@click.argument("model", required=False, shell_complete=complete_folder)
@calibration_option
@max_drop_option
@click.option("--device", shell_complete=device_completion, help="cpu, cuda or openvino.  [default: cpu]")
@click.option("--repair", type=click.Path(path_type=Path), metavar="OUT", help="Write a bundle of MODEL that passes.")
@allow_pickle_option
@report_option
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
    page: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look through an ONNX DIRECTORY that any tool made: what it can do, what is missing, what each variant gives.

    With the MODEL that it was made from, each variant is compared with it. The exit status is 1 where a variant fails
    or something is wrong.
    """
    exporter = load_exporter()
    page = check_page(page)
    found = exporter.audit(
        directory,
        model,
        calibration=calibration,
        max_drop=max_drop,
        device=device,
        repair=repair,
        allow_pickle=allow_pickle,
        progress=not quiet,
    )
    echo_comparison(found, as_json=as_json)
    if page is not None:
        findings = [(each.part, each.problem) for each in found.findings]
        write_page(directory, page, as_json=as_json, verification=found.verification, findings=findings)
    if repair is not None and not as_json:
        click.echo(f"\nrepaired: {repair}")
    require_passed(found)
