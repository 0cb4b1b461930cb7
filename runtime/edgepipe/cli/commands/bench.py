"""``edgepipe bench``: how fast a bundle is on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edgepipe.cli.shared_options import complete_folder, json_option, quiet_option, session_options, show_steps
from edgepipe.text_table import terminal_width

if TYPE_CHECKING:
    from edgepipe.benchmarking.benchmark import BenchReport
    from edgepipe.benchmarking.profile import ProfileReport


@click.command()
@click.argument("bundle", required=False, shell_complete=complete_folder)
@click.option("--batch", default="1,8", show_default=True, help="Batch sizes, comma-separated.")
@click.option("--length", help="Lengths in tokens, comma-separated.  [default: 16,128, as far as the model takes them]")
@click.option("--profile", "profiles", is_flag=True, help="Show where the time of each batch goes, by operator.")
@json_option
@quiet_option
@session_options
def bench(
    bundle: str | None,
    batch: str,
    length: str | None,
    profiles: bool,
    as_json: bool,
    quiet: bool,
    **session_arguments: Any,
) -> None:
    """Measure latency, throughput, cold start and peak memory of a bundle on this machine."""
    from edgepipe.benchmarking.benchmark import bench as measure_latencies
    from edgepipe.benchmarking.profile import profile
    from edgepipe.factory import embedded_bundle

    measure: Callable[..., BenchReport | ProfileReport] = profile if profiles else measure_latencies

    batch_sizes = _parse_whole_numbers(batch, "--batch")
    lengths = None if length is None else _parse_whole_numbers(length, "--length")
    with show_steps(hidden=quiet) as show:
        report = measure(
            embedded_bundle() if bundle is None else bundle,
            batch_sizes=batch_sizes,
            lengths=lengths,
            progress=show,
            **session_arguments,
        )
    click.echo(report.to_json() if as_json else report.table(width=terminal_width(sys.stdout)))


def _parse_whole_numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.UsageError(f"{option} takes whole numbers of at least 1, comma-separated, got {text!r}")
    return numbers
