"""Rows a second of `edgepipe map`, beside the pipeline's own: `python -m benchmarks.mapping.throughput`.

A DistilBERT-base classifies, and all-MiniLM-L6-v2 makes vectors, both in int8, of texts of a log-normal mix of lengths.
Beside the job stand our pipeline over the same texts, the faster of two ways (all threads for a text, or texts side by
side), and `transformers.pipeline` over a `KeyDataset`, the faster of two batch sizes, with fewer texts. With --ray the
job runs on a Ray cluster of one node, too. Each is a process of its own, in turns, and counts the time that rows take,
without that of its start; that of Ray's actors counts. What it prints is also written to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from benchmarks.checkpoints import make_checkpoint, sentence_checkpoint
from benchmarks.text_sets import text_sets
from benchmarks.turns import print_progress
from benchmarks.worker import ENVIRONMENT
from benchmarks.written_results import RESULTS, write_results
from pyarrow import parquet

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

HERE = Path(__file__).parent
_PARTS = 32
TASKS = {"distilbert-base": "text-classification", "minilm-embeddings": "feature-extraction"}
JOB, RAY, PIPELINE, TRANSFORMERS = (
    "edgepipe map",
    "edgepipe map --ray",
    "edgepipe's pipeline",
    "transformers, KeyDataset",
)


def main() -> None:
    arguments = _arguments()
    found: dict[str, dict[str, list[float]]] = {}
    executions: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        for model in arguments.models:
            folder = Path(arguments.keep or temporary) / model
            _make(model, folder, arguments.rows)
            found[model], executions[model] = _measure(model, folder, arguments)
    record = {
        "machine": machine_name(available_threads()),
        "threads": available_threads(),
        "rows": arguments.rows,
        "few": arguments.few,
        "rounds": arguments.rounds,
        "executions": executions,
        "rows_per_second": found,
    }
    write_results(arguments.output, "mapping", record, _markdown(record))


def _make(model: str, folder: Path, rows: int) -> None:
    """Write checkpoint, bundle and texts, where they are not there."""
    bundle = folder / "bundle"
    folder.mkdir(parents=True, exist_ok=True)
    if not bundle.is_dir():
        from edgepipe_export import export

        print_progress(f"{model}: making the checkpoint and exporting it")
        checkpoint = sentence_checkpoint()
        if model != "minilm-embeddings":
            make_checkpoint(model, checkpoint := folder / "checkpoint")
        export(str(checkpoint), bundle, task=TASKS[model], dtypes=("int8",), verify=False)
    [texts] = [
        each for each in text_sets(Path("/nowhere"), bundle / "tokenizer.json", 1, rows) if "log-normal" in each.name
    ]
    parquet.write_table(pa.table({"text": texts.texts}), folder / "texts.parquet")


def _measure(model: str, folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, Any]]:
    checkpoint = sentence_checkpoint() if model == "minilm-embeddings" else folder / "checkpoint"
    sides: dict[str, list[str]] = {
        JOB: _job(folder),
        PIPELINE: [str(HERE / "our_pipeline.py"), str(folder / "bundle"), str(folder / "texts.parquet")],
        TRANSFORMERS: [
            str(HERE / "key_dataset.py"), TASKS[model], str(checkpoint), str(folder / "texts.parquet"),
            str(arguments.few), str(available_threads()),
        ],
    }  # fmt: skip
    if arguments.ray:
        sides[RAY] = [*_job(folder), "--ray"]
    found: dict[str, list[float]] = {name: [] for name in sides}
    execution: dict[str, Any] = {}
    for number in range(arguments.rounds):
        for name, command in sides.items():
            print_progress(f"{model}: round {number + 1} of {arguments.rounds}: {name}")
            with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as out:
                ends = [str(Path(out) / "out"), *_options(arguments.rows)] if command[0] == "-m" else []
                report = _run([*command[:5], *ends, *command[5:]] if ends else command)
            found[name].append(report["rows"] / report["seconds"])
            print_progress(f"{found[name][-1]:,.1f} rows/s")
            execution = report if name == JOB else execution
    return found, execution


def _job(folder: Path) -> list[str]:
    return ["-m", "edgepipe", "map", str(folder / "bundle"), str(folder / "texts.parquet")]


def _options(rows: int) -> list[str]:
    """Parts that are short beside the job, as they are in a long one."""
    return ["--json", "--quiet", "--part-rows", str(max(1, rows // _PARTS))]


def _run(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True)
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return report


def _markdown(record: dict[str, Any]) -> str:
    lines = [
        "# `edgepipe map` beside the pipeline",
        "",
        f"`python -m benchmarks.mapping.throughput`, {record['machine']}. Rows a second, medians of {record['rounds']} "
        f"rounds in turns; {record['rows']:,} rows of 8 to 512 tokens, {record['few']:,} of them for transformers.",
        "",
    ]
    rows = ["| | | rows a second | map's ratio to it |", "|---|---|---|---|"]
    for model, sides in record["rows_per_second"].items():
        job = statistics.median(sides[JOB])
        for name, speeds in sides.items():
            speed = statistics.median(speeds)
            rows.append(f"| {model} | {name} | {speed:,.1f} | {job / speed:.2f} |")
        how = record["executions"][model]
        lines.append(f"{model}: {how['execution']}; {how['tokens'] / how['rows']:.0f} tokens a row.")
    return "\n".join([*lines, "", *rows, ""])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--few", type=int, default=150, help="rows for transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true", help="the job on Ray, too")
    parser.add_argument("--keep", help="keep models in this folder, and use those that are there")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
