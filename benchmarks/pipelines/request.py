"""One request, beside what else there is: `python -m benchmarks.pipelines.request` (`make bench`).

For a DistilBERT-base and for a tiny model: every contender is a file of its own, started as a process of its own, in
turns for several rounds, and measures its start, its memory and its request time. The bar is `bare.py`, 20 lines on the
same graph with as many threads. What it prints is also written to benchmarks/results, as Markdown and as JSON.

With --optimum, optimum-onnx runs too, in benchmarks/.venv-optimum, which is made if it is not there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.environments import optimum_python, run
from benchmarks.pipelines.contenders import contenders, overhead, run_rounds
from benchmarks.pipelines.request_report import Result, build_record, markdown
from benchmarks.turns import print_progress
from benchmarks.written_results import write_results

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

BENCHMARKS = Path(__file__).parents[1]
MODELS = ("distilbert-base", "tiny")


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads or available_threads()
    optimum = str(optimum_python()) if arguments.optimum else None
    results = []
    for name in arguments.models:
        with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
            folder = model_folder(name, Path(arguments.keep or temporary))
            results.append(_measure(name, folder, threads, arguments.rounds, arguments.seconds, optimum))
    record = build_record(results, machine_name(threads), arguments.rounds, with_optimum=optimum is not None)
    write_results(arguments.output, "request", record, markdown(record))


def _measure(name: str, folder: Path, threads: int, rounds: int, seconds: float, optimum: str | None) -> Result:
    every = contenders(folder, optimum)
    measured = run_rounds(every, rounds, threads, seconds, lambda line: print_progress(f"{name}: {line}"))
    print_progress(f"{name}: ours and the script on one session")
    return Result(name, every, measured, overhead(folder / "bundle", threads, 5 * seconds))


def model_folder(name: str, parent: Path) -> Path:
    """What checkpoints.py makes for a model, made if it is not there."""
    folder = parent / name
    if not (folder / "inside" / "model.onnx").exists():
        print_progress(f"{name}: making the checkpoint and exporting it")
        folder.mkdir(parents=True, exist_ok=True)
        run([sys.executable, "-m", "benchmarks.checkpoints", name, str(folder)])
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="of requests, each process  [default: 1]")
    parser.add_argument("--threads", type=int, help="[default: what the process may use]")
    parser.add_argument("--optimum", action="store_true", help="run optimum-onnx too, in an environment of its own")
    parser.add_argument("--keep", type=Path, help="keep the models in this folder, and use those that are there")
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
