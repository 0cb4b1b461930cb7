"""The ``edgepipe`` command: argument parsing only; the work is in ``edgepipe.commands`` and ``edgepipe_export``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import click

from edgepipe.cli.exit_status import Commands, leave_after
from edgepipe.errors import DependencyError


def main() -> NoReturn:
    """Entry point: run the command line and leave with its exit status."""
    leave_after(lambda: cli.main(prog_name="edgepipe", standalone_mode=False))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="edgepipe")
def cli() -> None:
    """Fine-tuned checkpoints as small ONNX bundles, run without torch."""


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that loads a bundle to run it."""
    for decorator in (
        click.option("--dtype", help="Variant, e.g. fp32 or int8.  [default: the bundle's; on CUDA fp16, else fp32]"),
        click.option("--device", help="cpu, cuda or cuda:1.  [default: cpu]"),
        click.option("--threads", type=click.IntRange(min=1), help="[default: what the process may use]"),
        click.option("--low-memory", is_flag=True, help="Keep the weights mapped: slower, far less memory."),
    ):
        command = decorator(command)
    return command


@cli.command()
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] [TEXT]...")
@click.option("--file", "-f", "files", multiple=True, type=click.Path(path_type=Path), help="Texts, one a line.")
@click.option("--task", help="[default: the bundle's]")
@click.option("--json", "as_json", is_flag=True, help='One {"input", "output"} object a line.')
@click.option("--option", "-o", "pairs", multiple=True, metavar="NAME=VALUE", help="Option of the task, e.g. top_k=2.")
@click.option("--json-input", is_flag=True, help="Inputs are JSON, not text: objects, or lists of words.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Texts that go through at once."
)
@click.option("--revision", help="Branch, tag or commit, for a Hub id.")
@click.option("--local-files-only", is_flag=True, help="Do not use the network.")
@session_options
def run(
    arguments: tuple[str, ...],
    files: tuple[Path, ...],
    task: str | None,
    as_json: bool,
    pairs: tuple[str, ...],
    json_input: bool,
    batch_size: int,
    revision: str | None,
    local_files_only: bool,
    dtype: str | None,
    device: str | None,
    threads: int | None,
    low_memory: bool,
) -> None:
    """Run a bundle on texts: arguments, files, or lines of standard input.

    BUNDLE is a directory or a Hub id; without it the embedded English sentiment model answers. With --json-input each
    text is a JSON value instead: {"question": ..., "context": ...} for question answering, {"text": ..., "text_pair":
    ...} for a pair of texts, a list of words with -o is_split_into_words=true, a list of {"role": ..., "content": ...}
    for a chat. Zero-shot classification needs -o candidate_labels=sport,politics. Text that is generated shows on a
    terminal while it is written.
    """
    from edgepipe.cli import run as command

    model, texts = command.split_model(arguments, has_file=bool(files))
    if not texts and not files and sys.stdin.isatty():
        raise click.UsageError("no text: give some as arguments, with --file, or on standard input")
    lines: Iterator[str] = chain(texts, *(command.read_lines(file) for file in files))
    if not texts and not files:
        lines = command.decoded(sys.stdin.buffer, "standard input")
    from edgepipe.pipelines.factory import pipeline

    loaded = pipeline(
        task,
        model,
        dtype=dtype,
        device=device,
        num_threads=threads,
        low_memory=low_memory,
        batch_size=batch_size,
        revision=revision,
        local_files_only=local_files_only,
        **command.parse_options(pairs),
    )
    if not json_input and loaded.json_example is not None:
        raise click.UsageError(
            f"{loaded.name} takes no plain texts: pass --json-input, and each input as e.g. '{loaded.json_example}'"
        )
    inputs = command.parse_inputs(lines) if json_input else lines
    if loaded.generates and not as_json:
        command.write_texts(loaded, inputs, sys.stdout)
    else:
        command.write_results(loaded, inputs, sys.stdout, as_json=as_json)


@cli.command()
@click.argument("bundle", required=False)
@click.option("--check", is_flag=True, help="Check the sha256 of every file.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(bundle: str | None, check: bool, as_json: bool) -> None:
    """Show what a bundle is: task, source, variants, sizes, parity.

    Without BUNDLE, the embedded default is shown.
    """
    from edgepipe.bundle import strict_json
    from edgepipe.bundle.directory import Bundle
    from edgepipe.cli.info import describe, render
    from edgepipe.pipelines.factory import embedded_bundle

    loaded = Bundle.load(embedded_bundle() if bundle is None else bundle)
    checked = len(loaded.check()) if check else None
    description = describe(loaded)
    if as_json:
        click.echo(strict_json.dumps(description | {"checked_files": checked}))
        return
    click.echo(render(description))
    if checked is not None:
        click.echo(f"\n{checked} files have the sha256 that the manifest says.")


@cli.command()
@click.argument("arguments", nargs=-1, metavar="MODEL OUT")
@click.option("--recipe", "recipe_name", help="A known checkpoint in place of MODEL; see: edgepipe recipes")
@click.option("--task", help="[default: found from the checkpoint's architecture]")
@click.option("--dtype", default=None, help="Variants, comma-separated, or auto.  [default: fp32, or the recipe's]")
@click.option("--revision", help="Branch, tag or commit, for a Hub id.")
@click.option("--opset", type=int, help="ONNX opset, 18 to 23.  [default: 20]")
@click.option("--output-hidden-states", is_flag=True, help="Add every layer's hidden states to the outputs.")
@click.option("--output-attentions", is_flag=True, help="Add every layer's attention weights to the outputs.")
@click.option("--output-pooler", is_flag=True, help="Add the pooler's output, where the model has one.")
@click.option("--target", default="this", show_default=True, help="avx2, avx512, vnni, arm64, this machine, or cuda.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Texts to measure quantized variants on: text, CSV, TSV, JSONL or CoNLL.  [default: a built-in set]",
)
@click.option(
    "--max-drop",
    type=float,
    help="Points that accuracy or F1 may drop.  [default: 0.5; without labels 1 % of other decisions]",
)
@click.option(
    "--prefer",
    type=click.Choice(["speed", "size", "quality"]),
    default="speed",
    show_default=True,
    help="What --dtype auto chooses by.",
)
@click.option("--budget", type=float, help="Seconds for the repair of variants that miss their bound.  [default: 300]")
@click.option("--report", "page", type=click.Path(path_type=Path), help="Write a page that shows what was measured.")
@click.option("--no-verify", is_flag=True, help="Do not compare with PyTorch; the manifest says so.")
@click.option("--force", is_flag=True, help="Write the bundle even if a parity check fails; the manifest says so.")
@click.option("--remeasure", is_flag=True, help="Measure again what an earlier export kept.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that exists.")
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights where there are no safetensors.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the checkpoint.")
def export(
    arguments: tuple[str, ...],
    recipe_name: str | None,
    task: str | None,
    dtype: str | None,
    revision: str | None,
    opset: int | None,
    output_hidden_states: bool,
    output_attentions: bool,
    output_pooler: bool,
    target: str,
    calibration: Path | None,
    max_drop: float | None,
    prefer: str,
    budget: float | None,
    page: Path | None,
    no_verify: bool,
    force: bool,
    remeasure: bool,
    overwrite: bool,
    allow_pickle: bool,
    trust_remote_code: bool,
) -> None:
    """Export a checkpoint to a bundle: MODEL is a Hub id or a directory, OUT the directory to write."""
    if len(arguments) != (1 if recipe_name else 2):
        raise click.UsageError("give OUT alone with --recipe" if recipe_name else "give MODEL and OUT")
    *models, output = arguments
    model = models[0] if models else ""
    dtypes = tuple(name.strip() for name in (dtype or "fp32").split(",") if name.strip())
    if recipe_name:
        from edgepipe_models import recipe

        try:
            known = recipe(recipe_name)
        except (KeyError, ValueError) as error:
            raise click.UsageError(str(error.args[0])) from error
        model, task, revision = known.model, task or known.task, revision or known.revision
        dtypes = dtypes if dtype else known.dtypes
    exporter = _exporter()
    if page is not None:
        from edgepipe_export.reporting.report import checked_output

        page = checked_output(page, made=output)
    bundle = exporter.export(
        model,
        output,
        task=task,
        dtypes=dtypes,
        revision=revision,
        opset=opset,
        output_hidden_states=output_hidden_states,
        output_attentions=output_attentions,
        output_pooler=output_pooler,
        target=target,
        calibration=calibration,
        max_drop=max_drop,
        prefer=prefer,
        budget=budget,
        verify=not no_verify,
        force=force,
        remeasure=remeasure,
        overwrite=overwrite,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    from edgepipe.cli.info import describe, render

    click.echo(render(describe(bundle)))
    if page is not None:
        click.echo(f"\nreport: {exporter.report(bundle, page)}")


@cli.command()
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
    click.echo(_exporter().report(bundle, output))


@cli.command()
def recipes() -> None:
    """List the known checkpoints, with the revision that transformers pins."""
    from edgepipe.text_table import table
    from edgepipe_models import recipes as known

    rows = [[entry.name, entry.task, entry.model, entry.revision, ",".join(entry.dtypes)] for entry in known()]
    click.echo(table(["recipe", "task", "model", "revision", "dtypes"], rows))


@cli.command()
@click.argument("bundle")
@click.argument("model")
@click.option("--text", "-t", "texts", multiple=True, help="A text to compare on.  [default: a built-in set]")
@click.option("--file", "-f", "files", multiple=True, type=click.Path(path_type=Path), help="Texts, one a line.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Measure on this file as an export's gate does: text, CSV, TSV, JSONL or CoNLL, with or without labels.",
)
@click.option("--max-drop", type=float, help="What a quantized variant may lose, as for export.")
@click.option("--dtype", help="Variant.  [default: all that are there]")
@click.option("--device", help="cpu, cuda or cuda:1, for the bundle.  [default: cpu]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def verify(
    bundle: str,
    model: str,
    texts: tuple[str, ...],
    files: tuple[Path, ...],
    calibration: Path | None,
    max_drop: float | None,
    dtype: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Compare a BUNDLE with the MODEL it was made from, tensor by tensor and result by result."""
    from edgepipe.cli.run import read_lines

    given = [*texts, *chain.from_iterable(read_lines(file) for file in files)]
    verification = _exporter().verify(
        bundle, model, texts=given or None, calibration=calibration, max_drop=max_drop, dtype=dtype, device=device
    )
    click.echo(verification.to_json() if as_json else verification.table())
    if not verification.passed:
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("bundle", required=False)
@click.option("--batch", default="1,8", show_default=True, help="Batch sizes, comma-separated.")
@click.option("--length", help="Lengths in tokens, comma-separated.  [default: 16,128, as far as the model takes them]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@session_options
def bench(
    bundle: str | None,
    batch: str,
    length: str | None,
    as_json: bool,
    dtype: str | None,
    device: str | None,
    threads: int | None,
    low_memory: bool,
) -> None:
    """Measure latency, throughput, cold start and peak memory of a bundle on this machine."""
    from edgepipe.benchmarking.benchmark import bench as measure
    from edgepipe.pipelines.factory import embedded_bundle

    report = measure(
        embedded_bundle() if bundle is None else bundle,
        dtype=dtype,
        device=device,
        num_threads=threads,
        low_memory=low_memory,
        batch_sizes=_whole_numbers(batch, "--batch"),
        lengths=None if length is None else _whole_numbers(length, "--length"),
        progress=(lambda line: click.echo(line, err=True)) if sys.stderr.isatty() else None,
    )
    click.echo(report.to_json() if as_json else report.table())


@cli.command()
@click.argument("checkpoint", required=False, metavar="[MODEL]")
def demo(checkpoint: str | None) -> None:
    """Show labels, scores, sizes, latencies and parity.

    With MODEL (a checkpoint's directory or Hub id) that is exported to fp32 and int8 first; without, the embedded
    sentiment model is shown.
    """
    import tempfile

    from edgepipe.cli.demo import demo_text, export_in_subprocess

    if checkpoint is None:
        click.echo(demo_text(None))
        return
    with tempfile.TemporaryDirectory(prefix="edgepipe-demo-") as folder:
        output = Path(folder, "bundle")
        export_in_subprocess(checkpoint, output)
        click.echo("\n" + demo_text(output))


def _whole_numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.UsageError(f"{option} takes whole numbers of at least 1, comma-separated, got {text!r}")
    return numbers


def _exporter() -> Any:
    try:
        import edgepipe_export
    except ImportError as error:
        raise DependencyError(f"the exporter is not installed ({error}); pip install 'edgepipe[export]'") from error
    return edgepipe_export
