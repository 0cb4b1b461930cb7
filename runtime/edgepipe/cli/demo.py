"""``edgepipe demo``: from a checkpoint to labels, with sizes, latencies and parity, and no torch in this process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import click

from edgepipe.benchmarking.timing import time_runs
from edgepipe.bundle.directory import Bundle
from edgepipe.cli.info import describe
from edgepipe.errors import ExportError
from edgepipe.text_table import table

SENTENCES = (
    "I love this",
    "What a waste of two hours.",
    "The soup was cold and nobody apologized.",
    "It starts slowly, but the ending is wonderful.",
)
_RUNS = 50


@click.command()
@click.argument("checkpoint", required=False, metavar="[MODEL]")
def demo(checkpoint: str | None) -> None:
    """Show labels, scores, sizes, latencies and parity.

    With MODEL (a checkpoint's directory or Hub id) that is exported to fp32 and int8 first; without, the embedded
    sentiment model is shown.
    """
    if checkpoint is None:
        click.echo(run_demo(None))
        return
    with tempfile.TemporaryDirectory(prefix="edgepipe-demo-") as folder:
        output = Path(folder, "bundle")
        export_in_subprocess(checkpoint, output)
        click.echo("\n" + run_demo(output))


def export_in_subprocess(checkpoint: str, output: Path) -> None:
    """Export to fp32 and int8 in a process of its own, so that this one never loads torch.

    Raises:
        ExportError: the export failed; its message is on stderr.
    """
    command = [sys.executable, "-m", "edgepipe", "export", checkpoint, str(output), "--dtype", "fp32,int8"]
    if subprocess.run(command, check=False).returncode != 0:
        raise ExportError(f"the export of {checkpoint} failed, see above")


def run_demo(bundle_path: Path | None) -> str:
    """Run every variant of a bundle on a few sentences and show what came out.

    Args:
        bundle_path: The bundle; None for the embedded default.
    """
    from edgepipe.pipelines.factory import embedded_bundle, pipeline

    bundle = Bundle.load(embedded_bundle() if bundle_path is None else bundle_path)
    descriptions = {variant["dtype"]: variant for variant in describe(bundle)["variants"]}
    labels, variants = [], []
    for dtype in bundle.dtypes:
        classify = pipeline(bundle.task, bundle, dtype=dtype)
        for sentence in SENTENCES:
            best = classify(sentence)[0]
            labels.append([sentence, dtype, best["label"], f"{best['score']:.4f}"])
        description = descriptions[dtype]
        variants.append(
            [
                dtype,
                f"{description['bytes'] / 1e6:.1f} MB",
                f"{1e3 * statistics.median(time_runs(partial(classify, SENTENCES[0]), runs=_RUNS)):.2f} ms",
                description["reference"] or "-",
                "-" if description["max_abs_diff"] is None else f"{description['max_abs_diff']:.1e}",
                "-" if description["label_agreement"] is None else f"{description['label_agreement']:.1%}",
            ]
        )
    labels.sort(key=lambda row: SENTENCES.index(row[0]))
    torch = "is" if "torch" in sys.modules else "is not"
    return "\n\n".join(
        [
            table(["text", "dtype", "label", "score"], labels),
            table(["dtype", "size", "one text", "compared with", "max difference", "same label"], variants),
            f"{bundle.task} on onnxruntime; torch {torch} loaded in this process.",
        ]
    )
