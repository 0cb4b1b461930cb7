"""``edgepipe verify``: a bundle beside the checkpoint it was made from."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from edgepipe.cli.shared_options import (
    allow_pickle_option,
    calibration_option,
    check_page,
    complete_folder,
    device_completion,
    dtype_completion,
    echo_comparison,
    files_option,
    json_option,
    load_exporter,
    max_drop_option,
    quiet_option,
    report_option,
    require_passed,
    write_page,
)
from edgepipe.tables.text_lines import read_lines


@click.command()
@click.argument("bundle", shell_complete=complete_folder)
@click.argument("model", shell_complete=complete_folder)
@click.option("--text", "-t", "texts", multiple=True, help="A text to compare on.  [default: a built-in set]")
@files_option
@calibration_option
@max_drop_option
@click.option(
    "--base", shell_complete=complete_folder, help="The base of an adapter or a file of weights, as for export."
)
@click.option("--tokenizer", shell_complete=complete_folder, help="Directory of another tokenizer, as for export.")
@allow_pickle_option
@click.option("--dtype", shell_complete=dtype_completion, help="Variant.  [default: all that are there]")
@click.option(
    "--device", shell_complete=device_completion, help="cpu, cuda or openvino, for the bundle.  [default: cpu]"
)
@click.option(
    "--update", is_flag=True, help="Write probes into the bundle, if all passed: an earlier version made none."
)
@report_option
@json_option
@quiet_option
def verify(
    bundle: str,
    model: str,
    texts: tuple[str, ...],
    files: tuple[Path, ...],
    calibration: Path | None,
    max_drop: float | None,
    base: str | None,
    tokenizer: str | None,
    allow_pickle: bool,
    dtype: str | None,
    device: str | None,
    update: bool,
    page: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare a BUNDLE with the MODEL it was made from, tensor by tensor and result by result."""
    given = [*texts, *chain.from_iterable(read_lines(file) for file in files)]
    exporter = load_exporter()
    page = check_page(page)
    verification = exporter.verify(
        bundle,
        model,
        texts=given or None,
        calibration=calibration,
        max_drop=max_drop,
        base=base,
        tokenizer=tokenizer,
        allow_pickle=allow_pickle,
        dtype=dtype,
        device=device,
        update=update,
        progress=not quiet,
    )
    echo_comparison(verification, as_json=as_json)
    if page is not None:
        write_page(bundle, page, as_json=as_json, verification=verification)
    require_passed(verification)
