"""``edgepipe demo``: labels from the embedded model, or from a checkpoint that is exported first and compared."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepipe.cli.shared_options import complete_folder, echo_json, json_option, quiet_option, show_steps
from edgepipe.errors import ExportError
from edgepipe.text_table import table, terminal_width, wrap

if TYPE_CHECKING:
    from edgepipe.bundle.directory import Bundle

SENTENCES = (
    "I love this",
    "What a waste of two hours.",
    "The soup was cold and nobody apologized.",
    "It starts slowly, but the ending is wonderful.",
)
_RUNS = 50
_STARTS = 3
_ROUNDS = 5

# A program of its own, for a process of its own: a module of ours would add its imports to what is timed.
_TRANSFORMERS = """
import json, statistics, sys
from functools import partial
checkpoint, text, runs = json.loads(sys.argv[1])
import transformers
transformers.logging.disable_progress_bar()
classify = transformers.pipeline("text-classification", checkpoint, device="cpu")
classify(text)
print(flush=True)
from edgepipe.benchmarking.memory import read_memory
from edgepipe.benchmarking.timing import time_runs
seconds = statistics.median(time_runs(partial(classify, text), runs=runs))
size = sum(weight.nbytes for weight in classify.model.parameters())
print(json.dumps(read_memory() | {"milliseconds": 1e3 * seconds, "bytes": size}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one way to run the model costs.

    Attributes:
        name: E.g. ``"edgepipe, int8"``.
        size: Bytes of its weights.
        milliseconds: Time of one text.
        start_ms: Time from starting a process to its first label.
        peak_bytes: The most memory that this process had; None where the system does not tell.
        same: How many labels are those of what it was compared with, in words; empty where it is the reference.
    """

    name: str
    size: int
    milliseconds: float
    start_ms: float
    peak_bytes: int | None
    same: str = ""


@click.command()
@click.argument("checkpoint", required=False, metavar="[MODEL]", shell_complete=complete_folder)
@json_option
@quiet_option
def demo(checkpoint: str | None, as_json: bool, quiet: bool) -> None:
    """Show labels, and what they cost.

    Without MODEL, the embedded sentiment model answers. With MODEL (a text classification checkpoint's directory or
    Hub id), that is exported to fp32 and int8, and both are compared with transformers.
    """
    from edgepipe.bundle.directory import Bundle

    if checkpoint is None:
        if as_json:
            echo_json({"model": None, "labels": answer(_embedded()), "measured": []})
        else:
            click.echo(show_embedded())
        return
    with tempfile.TemporaryDirectory(prefix="edgepipe-demo-") as folder:
        output = Path(folder, "bundle")
        if not quiet:
            click.echo(f"Exporting {checkpoint} to fp32 and int8, and comparing both with PyTorch ...", err=True)
        export_in_subprocess(checkpoint, output, quiet=quiet)
        bundle = Bundle.load(output)
        labels = answer(bundle)
        if not as_json:
            click.echo("\n" + show_labels(labels) + "\n")
        if not quiet:
            click.echo("Measuring size, speed and memory ...", err=True)
        measured = measure(checkpoint, bundle, quiet=quiet)
        if as_json:
            echo_json({"model": checkpoint, "labels": labels, "measured": list(map(asdict, measured))})
        else:
            click.echo(compare(measured, width=terminal_width(sys.stdout)))


def export_in_subprocess(checkpoint: str, output: Path, *, quiet: bool = False) -> None:
    """Export to fp32 and int8 in a process of its own, so that this one never loads torch.

    Args:
        checkpoint: What is exported.
        output: Where to.
        quiet: Whether to show no progress.

    Raises:
        ExportError: the export failed; its message is on stderr.
    """
    command = [sys.executable, "-m", "edgepipe", "export", checkpoint, str(output), "--dtype", "fp32,int8"]
    command += ["--task", "text-classification", *(["--quiet"] if quiet else [])]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        raise ExportError(f"the export of {checkpoint} failed, see above")


def _embedded() -> Bundle:
    from edgepipe.bundle.directory import Bundle
    from edgepipe.factory import embedded_bundle

    return Bundle.load(embedded_bundle())


def show_embedded() -> str:
    """The embedded model's labels for a few sentences."""
    bundle = _embedded()
    size = bundle.count_bytes(bundle.default_dtype)
    return (
        f"The model that comes with edgepipe ({bundle.default_dtype}, {size / 1e6:.1f} MB), on onnxruntime:\n\n"
        + show_labels(answer(bundle))
    )


def answer(bundle: Bundle) -> list[dict[str, Any]]:
    """The label that every variant gives each of a few sentences: ``dtype``, ``text``, ``label`` and ``score``."""
    from edgepipe.factory import pipeline

    found = []
    for dtype in bundle.dtypes:
        classify = pipeline(bundle.task, bundle, dtype=dtype)
        best = classify(list(SENTENCES), top_k=1)
        found += [{"dtype": dtype, "text": text, **label} for text, (label,) in zip(SENTENCES, best, strict=True)]
    return found


def show_labels(labels: list[dict[str, Any]]) -> str:
    """Labels as a table, a line a text and a column a variant."""
    columns: dict[str, dict[str, str]] = {}
    for entry in labels:
        columns.setdefault(entry["dtype"], {})[entry["text"]] = f"{entry['label']} {entry['score']:.4f}"
    rows = [[text, *(column[text] for column in columns.values())] for text in SENTENCES]
    return table(["text", *columns], rows, width=terminal_width(sys.stdout))


def measure(checkpoint: str, bundle: Bundle, *, quiet: bool) -> list[Measured]:
    """What transformers costs, and what each variant of the bundle."""
    with show_steps(hidden=quiet) as show:
        done, total = count(), _STARTS + len(bundle.dtypes)

        def step(name: str) -> None:
            show(name, next(done), total)

        return [measure_transformers(checkpoint, step), *measure_variants(bundle, step)]


def measure_transformers(checkpoint: str, step: Callable[[str], None]) -> Measured:
    """What the checkpoint costs in transformers, measured in processes of their own; `step` is told before each."""
    from edgepipe.benchmarking.cold_start import time_first_line

    argument = (checkpoint, SENTENCES[0], _RUNS)
    starts = []
    for number in range(_STARTS):
        step(f"transformers, {number + 1} of {_STARTS}")
        starts.append(time_first_line(_TRANSFORMERS, argument))
    return Measured(
        "transformers, PyTorch",
        starts[0][1]["bytes"],
        statistics.median(said["milliseconds"] for _, said in starts),
        1e3 * statistics.median(seconds for seconds, _ in starts),
        starts[0][1]["peak_bytes"],
    )


def measure_variants(bundle: Bundle, step: Callable[[str], None]) -> Iterator[Measured]:
    """What each variant of a bundle costs, and how many of its labels were the reference's when it was exported.

    `step` is told before each.
    """
    from edgepipe.benchmarking.cold_start import measure_cold_start
    from edgepipe.benchmarking.timing import take_turns, time_runs
    from edgepipe.factory import pipeline

    assert bundle.manifest is not None
    loaded = [pipeline(bundle.task, bundle, dtype=dtype) for dtype in bundle.dtypes]
    turns = [partial(time_runs, partial(classify, SENTENCES[0]), runs=_RUNS, wake=3) for classify in loaded]
    times = [list(chain(*rounds)) for rounds in take_turns(turns, _ROUNDS)]
    for dtype, seconds in zip(bundle.dtypes, times, strict=True):
        step(f"edgepipe, {dtype}")
        parity = bundle.manifest.variants[dtype].parity
        assert parity is not None
        assert parity.label_agreement is not None
        cold = measure_cold_start(
            bundle.path, {"dtype": dtype, "providers": None}, SENTENCES[0], rounds=_STARTS, progress=lambda line: None
        )
        reference = {"pytorch-fp32": "PyTorch"}.get(parity.reference, parity.reference)
        yield Measured(
            f"edgepipe, {dtype}",
            bundle.count_bytes(dtype),
            1e3 * statistics.median(seconds),
            cold.median_ms,
            cold.peak_bytes,
            f"{round(parity.label_agreement * parity.texts)} of {parity.texts}, as {reference}",
        )


def compare(measured: list[Measured], *, width: int | None = None) -> str:
    """A table of what was measured, the reference first, and the last of them beside it in a sentence.

    Args:
        measured: Two or more.
        width: How many columns of a terminal there are; by default lines are as long as they are.
    """
    rows = [
        [
            each.name,
            f"{each.size / 1e6:.1f} MB",
            f"{each.milliseconds:.2f} ms",
            f"{each.start_ms / 1e3:.2f} s",
            "-" if each.peak_bytes is None else f"{each.peak_bytes / 1e6:.0f} MB",
            each.same or "-",
        ]
        for each in measured
    ]
    first, last = measured[0], measured[-1]
    gains = [
        f"{first.size / last.size:.1f} x smaller",
        f"{first.milliseconds / last.milliseconds:.1f} x faster",
        f"{first.start_ms / last.start_ms:.1f} x faster to start",
    ]
    if first.peak_bytes is not None and last.peak_bytes is not None:
        gains.append(f"{first.peak_bytes / last.peak_bytes:.1f} x less memory")
    headers = ["", "size", "one text", "start to first label", "peak memory", "same labels"]
    sentence = "\n".join(wrap(f"{last.name}, beside {first.name}: {', '.join(gains)}.", width))
    return f"{table(headers, rows, 'lrrrrl', width=width)}\n\n{sentence}"
