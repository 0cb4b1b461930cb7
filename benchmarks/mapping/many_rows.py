"""Memory of `edgepipe map` over many rows, and what a kill costs: `python -m benchmarks.mapping.many_rows`.

A BERT of one layer classifies short texts, so that rows and not the model are what there is much of. The memory is that
of all processes of the job (Linux's proportional set size of what is no file), looked at every second. Then a shorter
job runs as often without and with a SIGKILL in its middle, to every process of it; the same command goes on. What a
kill costs is what both runs together took longer than one. What it prints is also written to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from benchmarks.checkpoints import tokenizer
from benchmarks.turns import print_progress
from benchmarks.worker import ENVIRONMENT
from benchmarks.written_results import RESULTS, command_of, write_results
from pyarrow import parquet

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

_GROUP = 100_000
_WORDS = ("good", "bad", "a movie", "great acting", "never again", "the plot", "is", "was", "what", "nobody", "slow")


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        folder = Path(arguments.keep or temporary)
        many, few = folder / f"{arguments.rows}.parquet", folder / f"{arguments.killed_rows}.parquet"
        _make(folder / "bundle", {many: arguments.rows, few: arguments.killed_rows})
        record: dict[str, Any] = {"machine": machine_name(available_threads()), "rows": arguments.rows}
        print_progress(f"{arguments.rows:,} rows")
        record["report"], record["memory"] = _run_whole(folder / "bundle", many, folder / "out")
        record["bytes"] = {"input": many.stat().st_size, "output": _size(folder / "out")}
        shutil.rmtree(folder / "out")
        record["killed_rows"] = arguments.killed_rows
        record["part_rows"] = max(1, arguments.killed_rows // arguments.parts)
        record |= _kill(folder, few, record["part_rows"], arguments.rounds)
    write_results(arguments.output, "mapping-many-rows", record, _markdown(record))


def _make(bundle: Path, tables: dict[Path, int]) -> None:
    """Write the bundle and the tables, where they are not there."""
    if not bundle.is_dir():
        import torch
        from transformers import BertConfig, BertForSequenceClassification

        from edgepipe_export import export

        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=30522, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
        )
        model = BertForSequenceClassification(config).eval()
        export(model, bundle, task="text-classification", tokenizer=tokenizer("bert"), verify=False)
    for file, rows in tables.items():
        draw = random.Random(0)
        if file.is_file() and parquet.ParquetFile(file).metadata.num_rows == rows:
            continue
        with parquet.ParquetWriter(file, pa.schema({"id": pa.int64(), "text": pa.string()})) as writer:
            for start in range(0, rows, _GROUP):
                ids = range(start, min(start + _GROUP, rows))
                texts = [" ".join(draw.choices(_WORDS, k=draw.randint(2, 8))) for _ in ids]
                writer.write_table(pa.table({"id": pa.array(ids, pa.int64()), "text": texts}))


def _run_whole(bundle: Path, texts: Path, out: Path) -> tuple[dict[str, Any], list[tuple[float, int]]]:
    """A job's report, and the part of its rows that was done with the bytes that it had, second by second."""
    rows = parquet.ParquetFile(texts).metadata.num_rows
    memory: list[tuple[float, int]] = []
    with _start(bundle, texts, out, ()) as process:
        told = time.monotonic()
        while process.poll() is None:
            time.sleep(1.0)
            parts = len(list(out.glob("part-*"))) if out.is_dir() else 0
            memory.append((parts * 4096 / rows, _memory(process.pid)))
            if time.monotonic() > told + 30:
                told = time.monotonic()
                print_progress(f"{memory[-1][0]:.0%}, {memory[-1][1] / 1e6:,.0f} MB")
        assert process.stdout is not None
        report: dict[str, Any] = json.loads(process.stdout.read())
    assert process.returncode == 0
    return report, [each for each in memory if each[1]]


def _kill(folder: Path, texts: Path, part_rows: int, rounds: int) -> dict[str, list[float]]:
    """The seconds of a job that nothing stops, of its start alone, and of one that is killed and goes on."""
    whole: list[float] = []
    starts: list[float] = []
    killed: list[float] = []
    options = ("--part-rows", str(part_rows))
    draw = random.Random(0)
    for number in range(rounds):
        print_progress(f"killed: round {number + 1} of {rounds}")
        for times, kill in ((whole, False), (killed, True)):
            start = time.perf_counter()
            if kill:
                with _start(folder / "bundle", texts, folder / "out", options) as process:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(statistics.median(whole) * draw.uniform(0.4, 0.8))
                    os.killpg(process.pid, signal.SIGKILL)
            with _start(folder / "bundle", texts, folder / "out", options) as process:
                report = json.loads(process.communicate()[0])
            times.append(time.perf_counter() - start)
            if not kill:
                starts.append(times[-1] - report["seconds"])
            shutil.rmtree(folder / "out")
    return {"seconds": whole, "start_seconds": starts, "killed_seconds": killed}


def _start(bundle: Path, texts: Path, out: Path, options: Sequence[str]) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "edgepipe",
        "map",
        str(bundle),
        str(texts),
        str(out),
        "--json",
        "--quiet",
        *options,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True)


def _memory(group: int) -> int:
    """The bytes that the processes of a group have in memory and that are no file's; what several share counts once."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                lines = (process / "smaps_rollup").read_text().splitlines()
                found += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return found


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _markdown(record: dict[str, Any]) -> str:
    report = record["report"]
    lost = [killed - whole for whole, killed in zip(record["seconds"], record["killed_seconds"], strict=True)]
    whole = statistics.median(record["seconds"])
    part = whole * record["part_rows"] / record["killed_rows"]
    lines = [
        "# `edgepipe map` over many rows",
        "",
        f"`{command_of('benchmarks.mapping.many_rows', sys.argv[1:])}`, {record['machine']}. {report['rows']:,} rows, "
        f"{record['bytes']['input'] / 1e6:,.0f} MB in and {record['bytes']['output'] / 1e6:,.0f} MB out as Parquet; "
        f"{report['rows'] / report['seconds']:,.0f} rows a second ({report['execution']}).",
        "",
        "| of the rows done | memory of all processes, MB |",
        "|---|---|",
    ]
    for least, most in ((0.05, 0.1), (0.2, 0.3), (0.45, 0.55), (0.7, 0.8), (0.9, 1.0)):
        found = [size for done, size in record["memory"] if least <= done <= most]
        if found:
            sizes = f"{statistics.median(found) / 1e6:,.0f}, at most {max(found) / 1e6:,.0f}"
            lines.append(f"| {least:.0%} to {most:.0%} | {sizes} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Killed once in its middle, a job of {record['killed_rows']:,} rows and {whole:.1f} s took "
            f"{statistics.median(lost):.1f} s longer ({min(lost):.1f} to {max(lost):.1f}, {len(lost)} kills). Of that "
            f"{statistics.median(record['start_seconds']):.1f} s are its second start, before the first row. A part of "
            f"{record['part_rows']:,} rows takes {part:.2f} s, and each process has one in work.",
            "",
        ]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--killed-rows", type=int, default=400_000)
    parser.add_argument("--parts", type=int, default=100, help="of the job that is killed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", help="keep what is made in this folder, and use what is there")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
