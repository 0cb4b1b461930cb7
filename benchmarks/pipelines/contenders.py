"""Who is measured, and how: new processes in turns, timed until they have printed their first label."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pipelines.measure import LISTS
from benchmarks.worker import ENVIRONMENT, Worker

HERE = Path(__file__).parent
TEXT = "This film is a quiet triumph, and I loved it."  # 14 tokens

# transformers and optimum start slowly and vary little for it: they run in every third round.
_HEAVY = 3


@dataclass(frozen=True)
class Contender:
    """One program on one model.

    Attributes:
        name: What the table calls it.
        program: Its file in this folder.
        folder: The model it loads.
        extra: Arguments after those that all take.
        bytes: Size of graph and weights.
        python: The interpreter.
        every: It runs in every how manieth round.
        exact: Whether its label and score must be the script's.
    """

    name: str
    program: str
    folder: Path
    extra: tuple[str, ...] = ()
    bytes: int = 0
    python: str = sys.executable
    every: int = 1
    exact: bool = True


@dataclass(frozen=True)
class Run:
    """One process: seconds from its start to its first label, that label, and what it measured (see measure.py)."""

    round: int
    start_s: float
    first: dict[str, Any]
    measured: dict[str, Any]


def contenders(folder: Path, optimum: str | None) -> list[Contender]:
    """Everyone, the bar first.

    Args:
        folder: What checkpoints.py wrote.
        optimum: Interpreter of the environment that has optimum-onnx; None to leave it out.
    """
    bundle, inside = folder / "bundle", folder / "inside"
    fp32, int8 = (_bytes(bundle.glob(f"onnx/{name}.onnx*")) for name in ("model", "model_int8"))
    weights = _bytes([folder / "checkpoint" / "model.safetensors"])
    graph = _bytes([inside / "model.onnx"])
    everyone = [
        Contender("script", "bare.py", inside, bytes=graph),
        Contender("edgepipe fp32", "ours.py", bundle, ("fp32", "normal"), fp32),
        Contender("edgepipe fp32, low memory", "ours.py", bundle, ("fp32", "low"), fp32),
        Contender("edgepipe int8", "ours.py", bundle, ("int8", "normal"), int8, exact=False),
        Contender("transformers, torch", "torch_pipeline.py", folder / "checkpoint", bytes=weights, every=_HEAVY),
    ]
    if optimum is not None:
        everyone.append(
            Contender("optimum-onnx", "optimum_pipeline.py", inside, bytes=graph, python=optimum, every=_HEAVY)
        )
    return everyone


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def run_rounds(
    everyone: list[Contender], rounds: int, threads: int, seconds: float, print_progress: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Run everyone in turns, in another order each round; one run each goes before, and does not count.

    Raises:
        SystemExit: a process failed, or an exact contender gave another label or score than the script.
    """
    print_progress("warming up")
    for contender in everyone:
        _run(contender, -1, threads, 0.0)
    shuffled = random.Random(0)
    runs: dict[str, list[Run]] = {contender.name: [] for contender in everyone}
    for number in range(rounds):
        print_progress(f"round {number + 1} of {rounds}")
        for contender in shuffled.sample(everyone, len(everyone)):
            if number % contender.every == 0:
                runs[contender.name].append(_run(contender, number, threads, seconds))
    bar = runs[everyone[0].name][0].first
    for contender in everyone:
        for run in runs[contender.name] if contender.exact else ():
            if run.first["label"] != bar["label"] or abs(run.first["score"] - bar["score"]) > 1e-4:
                raise SystemExit(f"{contender.name} says {run.first}, the script {bar}: they do not do the same work")
    return runs


def overhead(bundle: Path, threads: int, seconds: float) -> dict[str, float]:
    """What overhead.py measures, the median of five processes; microseconds and a ratio."""
    command = [sys.executable, "-m", "benchmarks.pipelines.overhead", str(bundle), TEXT, str(threads), str(seconds / 5)]
    measured = [json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) for _ in range(5)]
    measured.sort(key=lambda entry: entry["ratio"])
    middle: dict[str, float] = measured[len(measured) // 2]
    return middle


def start_worker(contender: Contender, threads: int) -> Worker:
    """A worker that runs lists of texts, see :func:`measure.run_lists`."""
    return Worker(contender.name, _command(contender, threads, LISTS))


def _command(contender: Contender, threads: int, seconds: float | str) -> list[str]:
    command = [contender.python, str(HERE / contender.program), str(contender.folder), TEXT, str(threads)]
    return [*command, str(seconds), *contender.extra]


def _run(contender: Contender, number: int, threads: int, seconds: float) -> Run:
    with tempfile.TemporaryFile("w+") as stderr:  # a pipe that nobody reads meanwhile could fill up
        start = time.perf_counter()
        with subprocess.Popen(
            _command(contender, threads, seconds),
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            env=ENVIRONMENT,
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            start_s = time.perf_counter() - start
            rest = process.stdout.read()
        stderr.seek(0)
        error = stderr.read()
    if process.returncode != 0 or not first:
        raise SystemExit(f"{contender.name} failed:\n{error}")
    return Run(number, start_s, ast.literal_eval(first), json.loads(rest))
