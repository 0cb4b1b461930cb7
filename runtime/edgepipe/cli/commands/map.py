"""``edgepipe map``: a bundle over files larger than memory, into files; interrupted it goes on where it was."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from edgepipe.cli.shared_options import (
    complete_folder,
    echo_json,
    json_option,
    parse_options,
    quiet_option,
    session_options,
    show_steps,
    task_option,
    verify_option,
)
from edgepipe.errors import DependencyError, Terminated

if TYPE_CHECKING:
    from edgepipe.mapping.run_job import MapReport

# Seconds between two lines that say how far it is, where there is no terminal.
_LINE_SECONDS = 30.0


@click.command()
@click.argument("bundle", shell_complete=complete_folder)
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@click.argument("output", metavar="OUT")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="[ROLE=]NAME",
    help="Column with the texts; for several roles e.g. question=Q and context=C.",
)
@click.option("--text-pair", metavar="NAME", help="Column with the second text of a pair.")
@click.option("--task", help="[default: the bundle's]")
@task_option
@click.option(
    "--format",
    type=click.Choice(("parquet", "jsonl", "csv")),
    help="Of the files in a folder OUT.  [default: that of IN]",
)
@click.option(
    "--part-rows",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="The most rows of a part: what a kill may cost.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Texts that go through at once.  [default: what is fastest and changes no result]",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Batches that run side by side.  [default: what is fastest]"
)
@click.option("--processes", type=click.IntRange(min=1), help="Processes that make parts.  [default: what is fastest]")
@click.option(
    "--ray",
    "address",
    is_flag=False,
    flag_value="auto",
    metavar="[ADDRESS]",
    help="Make the parts on a Ray cluster, HOST:PORT of its head; without an address on the one that runs here.",
)
@click.option(
    "--ray-actors",
    metavar="MIN[:MAX]",
    help="Actors that make parts; each has --threads CPUs, 1 by default.  [default: 1 to what there is room for]",
)
@click.option("--ray-gpus", type=click.FloatRange(min=0), help="GPUs of an actor.  [default: 1 with --device cuda]")
@click.option(
    "--ray-ship", is_flag=True, help="Send the bundle to the nodes; else each has it at the same path, or from the Hub."
)
@click.option("--fail-fast", is_flag=True, help="End at the first row that cannot be used.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever a job left in OUT.")
@verify_option
@click.option("--revision", help="Branch, tag or commit, for a Hub id.")
@click.option("--local-files-only", is_flag=True, help="Do not use the network.")
@json_option
@quiet_option
@session_options
def map(
    bundle: str,
    inputs: tuple[str, ...],
    output: str,
    columns: tuple[str, ...],
    text_pair: str | None,
    pairs: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    address: str | None,
    ray_actors: str | None,
    ray_gpus: float | None,
    ray_ship: bool,
    **given: Any,
) -> None:
    """Run BUNDLE over the rows of IN, and write them with their results to OUT.

    IN are files, folders, globs or addresses such as s3://bucket/texts: .parquet, .jsonl, .csv or .tsv, the last three
    compressed or not. OUT is a folder, which gets a file for each part, or a file that ends in .parquet, .jsonl or
    .csv. Interrupted or killed, the same command goes on where it was, here or on a cluster. A row that cannot be used
    gets a message in the column error; a row without a text has no result.
    """
    try:
        from edgepipe.mapping.run_job import run_job
    except ImportError as error:
        if isinstance(error, DependencyError):
            raise
        raise DependencyError(f"datasets need pyarrow ({error}); pip install 'edgepipe[map]'") from error
    options = {name: value for name, value in given.items() if value is not None}
    run = run_job
    if address is not None:
        run = _choose_cluster(address, ray_actors, ray_gpus, ship=ray_ship)
    elif ray_actors is not None or ray_gpus is not None or ray_ship:
        raise click.UsageError("--ray-actors, --ray-gpus and --ray-ship are for a Ray cluster: give --ray too")
    if text_pair is not None:
        columns = (*columns, f"text_pair={text_pair}")
    with _show_rows(hidden=quiet) as show:
        try:
            report = run(bundle, inputs, output, columns=columns, show=show, **options, **parse_options(pairs))
        except (KeyboardInterrupt, Terminated):
            click.echo(f"{output}: parts that are there are whole; the same command goes on", err=True)
            raise
    if as_json:
        echo_json(report.to_dict())
    else:
        click.echo("\n".join(describe_report(report)))


def _choose_cluster(address: str, actors: str | None, gpus: float | None, *, ship: bool) -> Callable[..., MapReport]:
    """What runs a job on a Ray cluster."""
    from edgepipe.ray.cluster_job import ClusterOptions, map_on_cluster, read_actors

    least, most = read_actors(actors or "1:")
    return partial(
        map_on_cluster,
        cluster=ClusterOptions(address, least, most, gpus, ship),
        tell=lambda message: click.echo(message, err=True),
    )


def describe_report(report: MapReport) -> Sequence[str]:
    """What a job did, as lines."""
    done = report.rows - report.kept
    rate = done / report.seconds if report.seconds else 0.0
    tokens = report.tokens / report.seconds if report.seconds else 0.0
    lines = [
        f"{report.output}: {report.rows:,} rows" + (f", of which {report.kept:,} were there" if report.kept else ""),
        f"{done:,} rows in {report.seconds:,.1f} s: {rate:,.0f} rows and {tokens:,.0f} tokens a second; "
        f"{report.execution}",
    ]
    if report.empty:
        lines.append(f"without a text, and so without a result: {report.empty:,}")
    if report.cut:
        lines.append(f"cut at the model's limit: {report.cut:,}; what is behind it was not read")
    if report.failed:
        lines.append(f"with an error: {report.failed:,}; the first: {report.first_error}")
    return lines


@contextmanager
def _show_rows(*, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far it is: a bar on a terminal, elsewhere a line now and then."""
    with show_steps(hidden=hidden) as show:
        if sys.stderr is None or sys.stderr.isatty():
            yield show
            return
        last = time.monotonic()

        def tell(step: str, done: int, total: int) -> None:
            nonlocal last
            if not hidden and time.monotonic() - last > _LINE_SECONDS:
                last = time.monotonic()
                click.echo(f"{done:,} of {total:,}: {step}", err=True)

        yield tell
