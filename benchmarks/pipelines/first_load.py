"""What the check of a variant adds to its load: `python -m benchmarks.pipelines.first_load BUNDLE --dtype int8`.

Each turn is a process of its own, in turns for several rounds: without the check, with it for the first time, and with
its verdict kept. What is timed is `pipeline()`; beside it stands one warm-up, the first call. Milliseconds, medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.turns import ROUNDS, print_progress

NEVER, FIRST, KNOWN = MODES = ("never", "first", "known")
TEXT = "The delivery was late again, and nobody answered."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="with probes")
    parser.add_argument("--dtype")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--turn", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.turn is not None:
        print(json.dumps(take_turn(arguments.bundle, arguments.dtype, arguments.turn)))
        return
    found: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as kept:
        start(arguments, FIRST, kept)  # so that there is a verdict, and the files are in memory
        for number in range(arguments.rounds):
            print_progress(f"round {number + 1} of {arguments.rounds}")
            for mode in MODES:
                with tempfile.TemporaryDirectory() as empty:
                    found[mode].append(start(arguments, mode, kept if mode == KNOWN else empty))
    loads = {mode: statistics.median(load for load, _ in times) for mode, times in found.items()}
    warm_up = statistics.median(call for times in found.values() for _, call in times)
    print(f"{arguments.bundle.name}, {arguments.dtype}: load {loads[NEVER]:.0f} ms, a warm-up {warm_up:.0f} ms")
    print(f"checked for the first time {loads[FIRST] - loads[NEVER]:+.0f} ms")
    print(f"with its verdict kept {loads[KNOWN] - loads[NEVER]:+.1f} ms")


def start(arguments: argparse.Namespace, mode: str, cache: str) -> tuple[float, float]:
    """What a process of its own measures, in milliseconds: its load, and its first call."""
    dtype = ["--dtype", arguments.dtype] if arguments.dtype else []
    command = [sys.executable, "-m", "benchmarks.pipelines.first_load", str(arguments.bundle), *dtype, "--turn", mode]
    done = subprocess.run(
        command, env=os.environ | {"EDGEPIPE_CACHE": cache}, capture_output=True, text=True, check=True
    )
    load, call = json.loads(done.stdout)
    return load, call


def take_turn(bundle: Path, dtype: str | None, mode: str) -> tuple[float, float]:
    """Load and call, as a program does that has imported edgepipe."""
    from edgepipe import pipeline

    begin = time.perf_counter()
    classify = pipeline(model=bundle, dtype=dtype, verify="never" if mode == NEVER else "first")
    loaded = time.perf_counter()
    classify(TEXT)
    return 1e3 * (loaded - begin), 1e3 * (time.perf_counter() - loaded)


if __name__ == "__main__":
    main()
