"""``edgepipe export``: a checkpoint to a bundle."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from edgepipe.cli.commands.info import describe, render
from edgepipe.cli.shared_options import (
    check_page,
    complete_folder,
    complete_name,
    dtype_completion,
    echo_json,
    json_option,
    load_exporter,
    quiet_option,
)
from edgepipe.errors import ParityError
from edgepipe.text_table import terminal_width

# What `--target` takes, for the shell: the exporter, which has the table, takes long to load.
TARGETS = ("this", "avx2", "avx512", "vnni", "arm64", "cuda", "openvino")


def _tasks() -> Iterable[str]:
    from edgepipe.bundle.tasks import TASKS

    return TASKS


def _recipes() -> Iterable[str]:
    from edgepipe_models import recipes

    return (known.name for known in recipes())


@click.command()
@click.argument("arguments", nargs=-1, metavar="MODEL OUT", shell_complete=complete_folder)
@click.option(
    "--recipe",
    "recipe_name",
    shell_complete=complete_name(_recipes),
    help="A known checkpoint in place of MODEL; see: edgepipe recipes",
)
@click.option(
    "--task", shell_complete=complete_name(_tasks), help="[default: found from the checkpoint's architecture]"
)
@click.option(
    "--dtype",
    shell_complete=dtype_completion,
    help="Variants, comma-separated, or auto.  [default: fp32, or the recipe's]",
)
@click.option(
    "--base",
    shell_complete=complete_folder,
    help="The model that a PEFT adapter or a file of weights is for.  [default: what the adapter names]",
)
@click.option(
    "--tokenizer", shell_complete=complete_folder, help="Directory of another tokenizer.  [default: the checkpoint's]"
)
@click.option("--revision", help="Branch, tag or commit, for a Hub id.")
@click.option("--opset", type=int, help="ONNX opset, 18 to 23.  [default: 20]")
@click.option("--output-hidden-states", is_flag=True, help="Add every layer's hidden states to the outputs.")
@click.option("--output-attentions", is_flag=True, help="Add every layer's attention weights to the outputs.")
@click.option("--output-pooler", is_flag=True, help="Add the pooler's output, where the model has one.")
@click.option(
    "--target",
    default="this",
    show_default=True,
    shell_complete=complete_name(lambda: TARGETS),
    help="avx2, avx512, vnni (or x86-avx2, ...), arm64, this machine, cuda or openvino.",
)
@click.option(
    "--kv-cache-dtype",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="What quantized variants of decoder-only models keep keys and values in.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Texts to measure quantized variants on: text, CSV, TSV, JSONL or CoNLL.  [default: a built-in set]",
)
@click.option("--probes-from-data", is_flag=True, help="Take the bundle's probes from the calibration file.")
@click.option(
    "--prove-on",
    metavar="NAME",
    help="Check variants on this processor, e.g. arm64, by the command in EDGEPIPE_PROVE_ON_NAME.",
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
    help="What --dtype auto chooses by; and with speed a repair weighs time.",
)
@click.option(
    "--budget",
    type=float,
    help="Seconds for the repair of variants that miss their bound; with --dtype auto for all that is measured.  "
    "[default: 300]",
)
@click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path),
    help="Write a page that shows what was measured, with times, and with texts of the calibration file.",
)
@click.option("--no-verify", is_flag=True, help="Do not compare with PyTorch; the manifest says so.")
@click.option("--force", is_flag=True, help="Write the bundle even if a parity check fails; the manifest says so.")
@click.option("--remeasure", is_flag=True, help="Measure again what an earlier export kept.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that exists.")
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights where there are no safetensors.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the checkpoint.")
@click.option("--hash-seed", type=int, help="What Reformer's hashes are drawn with.  [default: the config's hash_seed]")
@json_option
@quiet_option
def export(
    arguments: tuple[str, ...],
    recipe_name: str | None,
    dtype: str | None,
    page: Path | None,
    no_verify: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Export a checkpoint to a bundle: MODEL is a Hub id, a directory or a file of weights, OUT is written."""
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
        model = known.model
        options |= {name: options[name] or getattr(known, name) for name in ("task", "revision")}
        dtypes = dtypes if dtype else known.dtypes
    exporter = load_exporter()
    page = check_page(page, created=output)
    options |= {"progress": not quiet, "for_report": page is not None}
    missed: ParityError | None = None
    try:
        bundle = exporter.export(model, output, dtypes=dtypes, verify=not no_verify, **options)
    except ParityError as error:
        if error.bundle is None:
            raise
        missed, bundle = error, error.bundle  # what passed is shown as ever; then the command ends with the error
    if page is not None:
        page = exporter.report(bundle, page)
    if as_json:
        echo_json(describe(bundle) | {"report": None if page is None else str(page)})
    else:
        click.echo(render(describe(bundle), width=terminal_width(sys.stdout)))
        if page is not None:
            click.echo(f"\nreport: {page}")
    if missed is not None:
        raise missed
