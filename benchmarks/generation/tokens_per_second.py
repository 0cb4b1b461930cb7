"""Tokens a second of generation: `python -m benchmarks.generation.tokens_per_second` (`make bench-generation`).

GPT-2 (124 million weights; a prompt of 32 tokens, 64 new ones, greedy) and BART-base (a source of 64, 48 new ones,
greedy and 4 beams), batch 1, random weights: edgepipe beside transformers, optimum-onnx, CTranslate2 and a bare loop
around the same graph. Every contender is a worker process of its own; each round runs each in turn. What
it prints is also written to benchmarks/results, as Markdown and as JSON. With --context, what a token costs after
1,000 tokens beside what it costs after 100.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import optimum_python
from benchmarks.generation.generation_checkpoints import make_apart
from benchmarks.pipelines.request import BENCHMARKS
from benchmarks.pipelines.request_report import versions
from benchmarks.turns import print_progress
from benchmarks.worker import Worker
from benchmarks.written_results import write_results

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

WORKERS = Path(__file__).parent / "workers"


@dataclass(frozen=True)
class Work:
    """What is to be written: by which model, after how many tokens, how many, with how many beams."""

    model: str
    prompt: int
    new: int
    beams: int

    def __str__(self) -> str:
        return f"{self.model}, {self.prompt} -> {self.new}, {'greedy' if self.beams == 1 else f'{self.beams} beams'}"


WORKS = (Work("gpt2", 32, 64, 1), Work("bart-base", 64, 48, 1), Work("bart-base", 64, 48, 4))
CONTEXTS = (100, 1000)
AFTER_CONTEXT = 20

OURS = ("fp32", "int8", "w8", "w8-rows", "q4", "q4-rows")
BARE, OPTIMUM, TORCH = "bare loop, fp32", "optimum-onnx", "transformers, torch"
CT2, CT2_FP32 = "CTranslate2 int8", "CTranslate2 fp32"

# work: (what of ours, beside whom, at least so many times as fast)
TARGETS = {
    WORKS[0]: (("edgepipe w8", CT2, 2.2), ("edgepipe w8", OPTIMUM, 4.0), ("edgepipe fp32", BARE, 0.97)),
    WORKS[1]: (("edgepipe w8", CT2, 3.0),),
    WORKS[2]: (("edgepipe w8", CT2, 3.5),),
}
# The share of the time that is not the graph's, at most, by beams.
SHARES = {1: 0.05, 4: 0.12}


def generate(process: Worker, prompt: list[int], new: int, beams: int) -> dict[str, Any]:
    """Let a contender generate, and return its answer; see workers/generation_worker.py.

    Raises:
        SystemExit: it failed, or generated more or fewer tokens.
    """
    answer = process.request({"prompt": prompt, "new": new, "beams": beams})
    if len(answer["tokens"]) != new:
        raise SystemExit(f"{process.name} wrote {len(answer['tokens'])} tokens instead of {new}")
    return answer


def contenders(model: str, folder: Path, threads: int, python: str | None) -> list[tuple[str, list[str]]]:
    """Names and commands."""
    bundle, checkpoint = str(folder / "bundle"), str(folder / "checkpoint")
    everyone = [
        (f"edgepipe {dtype}", [sys.executable, "generate_ours.py", bundle, str(threads), dtype]) for dtype in OURS
    ]
    if model == "gpt2":
        everyone.append((BARE, [sys.executable, "generate_bare.py", bundle, str(threads), "fp32"]))
    if python is not None:
        everyone += [
            (CT2, [python, "generate_ctranslate2.py", checkpoint, str(threads), "int8"]),
            (CT2_FP32, [python, "generate_ctranslate2.py", checkpoint, str(threads), "float32"]),
            (OPTIMUM, [python, "generate_torch.py", checkpoint, str(threads), "optimum"]),
        ]
    everyone.append((TORCH, [sys.executable, "generate_torch.py", checkpoint, str(threads), "torch"]))
    return [(name, [command[0], str(WORKERS / command[1]), *command[2:]]) for name, command in everyone]


def measure_model(
    model: str, folder: Path, threads: int, python: str | None, rounds: int
) -> dict[Work, dict[str, list[dict[str, Any]]]]:
    """The answers of everyone for each work of a model; a round before does not count."""
    works = [work for work in WORKS if work.model == model]
    answers: dict[Work, dict[str, list[dict[str, Any]]]] = {work: {} for work in works}
    shuffled = random.Random(0)
    with ExitStack() as stack:
        running = [
            stack.enter_context(Worker(name, command)) for name, command in contenders(model, folder, threads, python)
        ]
        for number in range(-1, rounds):
            print_progress(f"{model}: round {number + 1} of {rounds}")
            for work in works:
                prompt = [shuffled.randrange(300, 50000) for _ in range(work.prompt)]
                for process in shuffled.sample(running, len(running)):
                    if process.name == BARE and work.beams > 1:
                        continue
                    answer = generate(process, prompt, work.new, work.beams)
                    if number >= 0:
                        answers[work].setdefault(process.name, []).append(answer)
    return answers


def context_cost(folder: Path, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds that the graph takes for a token after a context of each length, by dtype: medians of medians."""
    found: dict[str, dict[str, float]] = {}
    prompts = {length: [(7 * index) % 50000 for index in range(length)] for length in CONTEXTS}
    for name, command in contenders("gpt2", folder, threads, None)[: len(OURS)]:
        with Worker(name, command) as process:
            costs: dict[int, list[float]] = {length: [] for length in CONTEXTS}
            for number in range(-1, rounds):
                for length, prompt in prompts.items():
                    answer = generate(process, prompt, AFTER_CONTEXT, 1)
                    if number >= 0:
                        costs[length].append(answer["step_seconds"] * 1e3)
        medians = {str(length): statistics.median(times) for length, times in costs.items()}
        found[name] = medians | {"ratio": medians[str(CONTEXTS[1])] / medians[str(CONTEXTS[0])]}
    return found


def summarize(answers_by_work: dict[Work, dict[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Medians, ratios of the same rounds, and targets."""
    results = []
    for work, answers in answers_by_work.items():
        speeds = {
            name: statistics.median(work.new / each["seconds"] for each in runs) for name, runs in answers.items()
        }
        shares = {
            name: statistics.median(each["overhead_seconds"] / each["seconds"] for each in runs)
            for name, runs in answers.items()
            if "overhead_seconds" in runs[0]
        }
        targets = [
            {"of": ours, "beside": other, "ratio": _ratio(answers[ours], answers[other]), "at_least": least}
            for ours, other, least in TARGETS[work]
            if other in answers
        ]
        results.append({"work": str(work), "beams": work.beams, "speeds": speeds, "shares": shares, "targets": targets})
    return results


def _ratio(ours: list[dict[str, Any]], others: list[dict[str, Any]]) -> float:
    return statistics.median(other["seconds"] / our["seconds"] for our, other in zip(ours, others, strict=True))


def markdown(record: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "# Generation, batch 1",
        "",
        f"{record['machine']}.",
        f"{record['versions']}.",
        f"Tokens a second, medians of {record['rounds']} rounds in turns; ratios are medians of ratios within a round.",
        "Made by `python -m benchmarks.generation.tokens_per_second`.",
    ]
    for result in record["results"]:
        lines += ["", f"## {result['work']}", "", "| | tokens a second | not the graph's time |", "|---|---:|---:|"]
        for name, speed in sorted(result["speeds"].items(), key=lambda pair: -pair[1]):
            share = result["shares"].get(name)
            lines.append(f"| {name} | {speed:.1f} | {'' if share is None else f'{100 * share:.1f} %'} |")
        lines += ["", f"- not the graph's time: at most {100 * SHARES[result['beams']]:g} % is wanted"]
        for target in result["targets"]:
            met = "met" if target["ratio"] >= target["at_least"] else "missed"
            beside = f"{target['of']} beside {target['beside']}"
            lines.append(f"- {beside}: {target['ratio']:.2f} x (at least {target['at_least']} x: {met})")
    if record["context"]:
        lines += [
            "",
            "## What a token costs, GPT-2",
            "",
            "| | after 100 | after 1,000 | ratio |",
            "|---|---:|---:|---:|",
        ]
        for name, cost in record["context"].items():
            lines.append(f"| {name} | {cost['100']:.1f} ms | {cost['1000']:.1f} ms | {cost['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads or available_threads()
    python = None if arguments.alone else arguments.peers_python or str(optimum_python("ctranslate2"))
    answers_by_work: dict[Work, dict[str, list[dict[str, Any]]]] = {}
    context: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        for model in arguments.models:
            folder = Path(arguments.keep or temporary) / model
            make_apart(model, folder, OURS)
            answers_by_work |= measure_model(model, folder, threads, python, arguments.rounds)
            if model == "gpt2" and arguments.context:
                context = context_cost(folder, threads, arguments.rounds)
    record = {
        "machine": machine_name(threads),
        "versions": ", ".join(f"{name} {version}" for name, version in versions(with_optimum=True).items()),
        "rounds": arguments.rounds,
        "results": summarize(answers_by_work),
        "context": context,
    }
    write_results(arguments.output, "generation", record, markdown(record))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("gpt2", "bart-base"), default=["gpt2", "bart-base"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="[default: what the process may use]")
    parser.add_argument(
        "--peers-python", help="an interpreter with optimum-onnx and CTranslate2  [default: one is set up]"
    )
    parser.add_argument("--alone", action="store_true", help="without optimum-onnx and CTranslate2")
    parser.add_argument("--context", action="store_true", help="measure the cost of a token after long contexts too")
    parser.add_argument("--keep", type=Path, help="keep the models in this folder, and use them if they are there")
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
