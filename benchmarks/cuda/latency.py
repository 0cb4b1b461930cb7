"""Speed on an NVIDIA GPU: `python -m benchmarks.cuda.latency`.

BERT-base at 1 x 128 and 32 x 128 tokens, DistilBERT from text to label, GPT-2 and BART-base greedy, in fp16: edgepipe
with buckets (captured as CUDA graphs) and without, beside PyTorch eager, torch.compile, and optimum-onnx on CUDA where
an interpreter that has it is named. Every contender is a worker process of its own; each round runs each in turn,
and medians count. Random weights. Copies to and from the GPU are in the time.

    python -m benchmarks.cuda.latency --optimum-python ENV/bin/python --bandwidth 4800 --arithmetic 990

--bandwidth (GB/s) and --arithmetic (TFLOP/s, of fp16) are those of the card's data sheet; with them the table says how
far a contender is from what they allow. `--tiny --device cpu` runs all of it on a processor, to see that it works.

Results are written to benchmarks/results as Markdown and as JSON, with clocks and versions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.cuda.cuda_work import WORKS, Work
from benchmarks.worker import Worker
from benchmarks.written_results import write_results

from edgepipe.backend.machine import machine_name

HERE = Path(__file__).parent
OURS, EAGER = "edgepipe", "edgepipe, no buckets"
TORCH, COMPILED, OPTIMUM = "torch eager", "torch.compile", "optimum-onnx"
PACKAGES = ("edgepipe", "onnxruntime", "onnxruntime-gpu", "torch", "transformers", "numpy")

# work: (beside whom, how many times as fast at least); None: the milliseconds at most.
TARGETS: dict[str, tuple[tuple[str | None, float], ...]] = {
    "BERT-base 1 x 128": ((COMPILED, 1 / 0.7),),
    "BERT-base 32 x 128": ((COMPILED, 1.0),),
    "DistilBERT, text to label": ((None, 1.0),),
    "GPT-2, 32 + 64 greedy": ((OPTIMUM, 2.0), (COMPILED, 1.0)),
    "GPT-2, prompt of 512": ((TORCH, 0.9),),
    "BART-base, 64 -> 48 greedy": ((OPTIMUM, 2.0), (COMPILED, 1.0)),
}
# Weights that a token passes through (tied ones once), in millions, for the card's limits.
MILLIONS = {"bert-base": 86.0, "distilbert-base": 43.0, "gpt2": 124.0, "bart-base": 96.0}


@dataclass(frozen=True)
class Latency:
    """One contender on one work: milliseconds of a run, median, 95th percentile, and of each round."""

    work: str
    contender: str
    p50: float
    p95: float
    rounds: list[float]


def main() -> None:
    arguments = _arguments()
    latencies, failures = [], []
    for work in WORKS:
        if arguments.works and not any(name in work.name.lower() for name in arguments.works):
            continue
        with tempfile.TemporaryDirectory(prefix="edgepipe-cuda-") as temporary:
            folder = _prepare_model(work.model, Path(arguments.keep or temporary), tiny=arguments.tiny)
            found, failed = _measure(work, folder, arguments)
        latencies += found
        failures += failed
    record = {
        "machine": machine_name(),
        "gpu": gpu(),
        "versions": versions(),
        "device": arguments.device,
        "dtype": arguments.dtype,
        "tiny": arguments.tiny,
        "figures": [asdict(latency) for latency in latencies],
        "failures": failures,
        "targets": [] if arguments.tiny else targets(latencies),
    }
    text = markdown(record, latencies, arguments.bandwidth, arguments.arithmetic)
    if arguments.output:
        write_results(arguments.output, "cuda", record, text)
    else:
        print(text)


def _measure(work: Work, folder: Path, arguments: argparse.Namespace) -> tuple[list[Latency], list[str]]:
    """Every contender in turns; one that cannot be started is reported and left out."""
    times: dict[str, list[list[float]]] = {}
    failures = []
    with ExitStack() as stack:
        running = []
        for name, command in _commands(work, folder, arguments).items():
            try:
                running.append(stack.enter_context(Worker(name, command)))
            except SystemExit as error:
                failures.append(f"{work.name}: {str(error).strip().splitlines()[-1]} ({name})")
        for number in range(-1, arguments.rounds):
            for contender in running:
                seconds = contender.request({"count": arguments.count})["seconds"]
                if number >= 0:  # the first round warms up
                    times.setdefault(contender.name, []).append([1e3 * second for second in seconds])
    found = []
    for name, rounds in times.items():
        every = sorted(second for one in rounds for second in one)
        p95 = every[min(len(every) - 1, int(0.95 * len(every)))]
        found.append(
            Latency(work.name, name, statistics.median(every), p95, [statistics.median(one) for one in rounds])
        )
    return found, failures


def _commands(work: Work, folder: Path, arguments: argparse.Namespace) -> dict[str, list[str]]:
    common = {"device": arguments.device, "dtype": arguments.dtype}

    def command(program: str, part: str, python: str = sys.executable, **options: Any) -> list[str]:
        return [
            python,
            str(HERE / program),
            str(folder / part),
            json.dumps(asdict(work)),
            json.dumps(common | options),
        ]

    found = {EAGER: command("cuda_ours.py", "bundle", buckets=False)}
    if work.kind != "decoder":
        found = {OURS: command("cuda_ours.py", "bundle", buckets=True)} | found
    else:
        found = {OURS: found[EAGER]}
    found[TORCH] = command("cuda_torch.py", "checkpoint", library="torch", compiled=False, warm=3)
    if arguments.compile:
        found[COMPILED] = command("cuda_torch.py", "checkpoint", library="torch", compiled=True, warm=5)
    if arguments.optimum_python:
        options = {"library": "optimum", "compiled": False, "warm": 3}
        found[OPTIMUM] = command("cuda_torch.py", "checkpoint", arguments.optimum_python, **options)
    return found


def _prepare_model(model: str, parent: Path, *, tiny: bool) -> Path:
    folder = parent / (f"{model}-tiny" if tiny else model)
    if not (folder / "bundle").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.cuda.cuda_work", model, str(folder), *(["tiny"] if tiny else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{model} could not be written:\n{done.stderr}")
    return folder


def gpu() -> str | None:
    """The card, its driver, clocks and power as they are now, in nvidia-smi's words; None where there is none."""
    fields = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """What the figures hold for."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def targets(latencies: list[Latency]) -> list[dict[str, Any]]:
    """What the project promises on a GPU, each with what was measured; None where nothing was."""
    medians = {(latency.work, latency.contender): latency.p50 for latency in latencies}
    found = []
    for work, wanted in TARGETS.items():
        ours = medians.get((work, OURS))
        for other, least in wanted:
            if other is None:
                found.append({"what": f"{work}: milliseconds, at most", "target": least, "measured": ours})
                continue
            theirs = medians.get((work, other))
            ratio = theirs / ours if ours and theirs else None
            found.append({"what": f"{work}: times as fast as {other}", "target": least, "measured": ratio})
    return found


def markdown(
    record: dict[str, Any], latencies: list[Latency], bandwidth: float | None, arithmetic: float | None
) -> str:
    """The tables."""
    lines = [
        f"{record['machine']}; {', '.join(f'{name} {number}' for name, number in record['versions'].items())}.",
        f"Device {record['device']}, {record['dtype']}.",
        *(["Tiny models: these figures mean nothing."] if record["tiny"] else []),
        *(["", "```", record["gpu"], "```"] if record["gpu"] else ["No NVIDIA GPU."]),
        "",
        "| | | p50 ms | p95 ms | rounds | limit of the card |",
        "|---|---|---|---|---|---|",
    ]
    for latency in latencies:
        spread = f"{min(latency.rounds):.2f} to {max(latency.rounds):.2f}"
        share = "" if record["tiny"] else _limit(latency, bandwidth, arithmetic)
        lines.append(
            f"| {latency.work} | {latency.contender} | {latency.p50:.2f} | {latency.p95:.2f} | {spread} | {share} |"
        )
    for target in record["targets"]:
        measured = target["measured"]
        text = "not measured" if measured is None else f"{measured:.2f}"
        lines.append(f"\n{target['what']}: {text}, target {target['target']:.2f}")
    lines += [f"\nNot run: {failure}" for failure in record["failures"]]
    return "\n".join(lines) + "\n"


def _limit(latency: Latency, bandwidth: float | None, arithmetic: float | None) -> str:
    """How many milliseconds the card needs at least, by its memory or its arithmetic, and the share of the time."""
    if not (bandwidth and arithmetic):
        return ""
    work = next(each for each in WORKS if each.name == latency.work)
    weights = MILLIONS[work.model] * 1e6
    tokens = 14 if work.kind == "text" else work.rows * work.tokens
    steps = max(1, work.new)
    memory = steps * 2 * weights / (bandwidth * 1e9)
    products = (tokens + steps - 1) * 2 * weights / (arithmetic * 1e12)
    least, name = max((memory, "memory"), (products, "arithmetic"))
    return f"{1e3 * least:.3f} ms ({name}), {100 * 1e3 * least / latency.p50:.0f} %"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to see that it works")
    parser.add_argument("--works", nargs="+", help="only those whose names have one of these words")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=50, help="runs of a round  [default: 50]")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--optimum-python", help="an interpreter that has optimum-onnx and onnxruntime-gpu")
    parser.add_argument("--bandwidth", type=float, help="of the card's memory, GB/s")
    parser.add_argument("--arithmetic", type=float, help="of the card in fp16, TFLOP/s")
    parser.add_argument("--keep", type=Path, help="keep the models in this folder, and use those that are there")
    parser.add_argument("--output", type=Path, help="[default: benchmarks/results; none with --tiny]")
    arguments = parser.parse_args()
    if arguments.output is None and not arguments.tiny:
        arguments.output = HERE.parent / "results"
    return arguments


if __name__ == "__main__":
    main()
