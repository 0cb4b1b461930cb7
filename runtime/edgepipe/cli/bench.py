"""``edgepipe bench``: how fast a bundle is on this machine."""

from __future__ import annotations

import sys
from typing import Any

import click

from edgepipe.cli.shared_options import json_option, session_options


@click.command()
@click.argument("bundle", required=False)
@click.option("--batch", default="1,8", show_default=True, help="Batch sizes, comma-separated.")
@click.option("--length", help="Lengths in tokens, comma-separated.  [default: 16,128, as far as the model takes them]")
@json_option
@session_options
def bench(bundle: str | None, batch: str, length: str | None, as_json: bool, **session_arguments: Any) -> None:
    """Measure latency, throughput, cold start and peak memory of a bundle on this machine."""
    from edgepipe.benchmarking.benchmark import bench as measure
    from edgepipe.pipelines.factory import embedded_bundle

    report = measure(
        embedded_bundle() if bundle is None else bundle,
        batch_sizes=_parse_whole_numbers(batch, "--batch"),
        lengths=None if length is None else _parse_whole_numbers(length, "--length"),
        progress=(lambda line: click.echo(line, err=True)) if sys.stderr.isatty() else None,
        **session_arguments,
    )
    click.echo(report.to_json() if as_json else report.table())


def _parse_whole_numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.UsageError(f"{option} takes whole numbers of at least 1, comma-separated, got {text!r}")
    return numbers
