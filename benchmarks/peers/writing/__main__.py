"""Models that write beside other engines: `python -m benchmarks.peers.writing` (`make bench-peers`).

GPT-2 (124 million weights), a Llama (134) and Qwen2's smallest (494), all with random weights: prompts of 32 and 512
tokens, 64 new ones, greedy, one text at a time. Beside them llama.cpp, OpenVINO GenAI, onnxruntime-genai, CTranslate2
and PyTorch. Every contender is a process of its own. Each round measures the memory's bandwidth, and gives each of them
every prompt in turn, so that whatever else the machine does falls on all alike. Ratios are our speed over the peer's in
the same round.

What cannot be installed, or does not take a model, is named with its reason. What it prints is also written to
benchmarks/results, as Markdown and as JSON. BART beside CTranslate2 is in `benchmarks.generation.tokens_per_second`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.generation.generation_checkpoints import make_apart
from benchmarks.generation.tokens_per_second import generate
from benchmarks.peers.sections import LLAMA, PEERS, Contender
from benchmarks.peers.writing.bandwidth import measure_bandwidth
from benchmarks.peers.writing.writer_files import Interpreters, bytes_read, make_file, writer_command
from benchmarks.peers.writing.writers import BUNDLE, MODELS, OURS, PROMPTS, REFERENCE, choose
from benchmarks.peers.writing.writing_report import build_record, count_equal, markdown
from benchmarks.turns import SETTLE, print_progress
from benchmarks.worker import Worker, measure_starts
from benchmarks.written_results import RESULTS, command_of, write_results

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

# The words of the vocabulary's beginning are bytes.
FIRST_WORD = 300
# Why a contender does not run, by its name.
Reasons = dict[str, str]


def main() -> None:
    arguments = _arguments()
    given = {PEERS: arguments.peers_python, LLAMA: arguments.llama_python}
    models = []
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        for name in arguments.models:
            folder = (arguments.keep or Path(temporary)) / name
            wanted, left_out = choose(name, arguments.only), Reasons()
            dtypes = [one.option for one in choose(name, OURS) if one.path == BUNDLE]
            make_apart(name, folder, dtypes)
            wanted = keep_working(wanted, left_out, partial(make_file, folder=folder, given=given))
            if not arguments.prepare:
                models.append({"model": name, **measure(wanted, left_out, folder, given, arguments)})
            elif left_out:
                print(name, left_out, file=sys.stderr)
    if not arguments.prepare:
        command = command_of("benchmarks.peers.writing", sys.argv[1:])
        record = build_record(models, command, machine_name(arguments.threads), arguments.rounds)
        write_results(arguments.output, "peers-writing", record, markdown(record))


def keep_working(
    wanted: Iterable[Contender], left_out: Reasons, attempt: Callable[[Contender], object]
) -> list[Contender]:
    """Those for whom something works; why it does not for the others is noted in `left_out`."""
    working = []
    for one in wanted:
        try:
            attempt(one)
        except SystemExit as error:
            left_out[one.name] = find_reason(str(error))
            print_progress(f"{one.name} is left out: {error}")
        else:
            working.append(one)
    return working


def find_reason(message: str) -> str:
    """What is wrong, by the last line of a traceback, without the folders of this machine."""
    return re.sub(r"(/[^/\s'\"]+)+/", "", message.strip().splitlines()[-1])


def measure(
    wanted: Sequence[Contender], left_out: Reasons, folder: Path, given: Interpreters, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Each round's seconds to the first token and to the last, by contender and prompt; bandwidth, starts, tokens."""
    threads, new = arguments.threads, arguments.new
    config = json.loads((folder / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    shuffled = random.Random(0)
    bandwidths: list[float] = []

    def draw(length: int) -> list[int]:
        return [shuffled.randrange(FIRST_WORD, config["vocab_size"] - 1) for _ in range(length)]

    with ExitStack() as stack:
        running: dict[str, Worker] = {}

        def start(one: Contender) -> None:
            worker = stack.enter_context(Worker(one.name, writer_command(one, folder, threads, given)))
            for length in PROMPTS:
                generate(worker, draw(length), new, 1)
            running[one.name] = worker

        print_progress(f"{folder.name}: starting, warming up")
        wanted = keep_working(wanted, left_out, start)
        answers: dict[str, dict[str, list[dict[str, Any]]]] = {
            one.name: {str(length): [] for length in PROMPTS} for one in wanted
        }
        for number in range(arguments.rounds):
            print_progress(f"{folder.name}: round {number + 1} of {arguments.rounds}")
            bandwidths.append(measure_bandwidth(threads))
            for length in PROMPTS:
                prompt = draw(length)
                # In another order each time: threads of an engine may spin for a while, and slow whoever comes next.
                for name in random.sample(list(running), len(running)):
                    time.sleep(SETTLE)
                    answers[name][str(length)].append(generate(running[name], prompt, new, 1))
    commands = {one.name: writer_command(one, folder, threads, given) for one in wanted}
    return {
        "new": new,
        "left_out": left_out,
        "bandwidths": bandwidths,
        "bytes_read": {one.name: bytes_read(one, folder) for one in wanted},
        "answers": {
            name: {
                length: [{key: each[key] for key in ("first_seconds", "seconds")} for each in own]
                for length, own in by_length.items()
            }
            for name, by_length in answers.items()
        },
        "equal_tokens": {name: count_equal(own, answers.get(REFERENCE)) for name, own in answers.items()},
        "starts": measure_starts(commands, {"prompt": draw(PROMPTS[0]), "new": 1, "beams": 1}, arguments.rounds),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--only", nargs="+", metavar="PART", help="contenders whose names have one of these parts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new", type=int, default=64, help="tokens to write behind each prompt  [default: 64]")
    parser.add_argument("--threads", type=int, default=available_threads(), help="[default: what the process may use]")
    parser.add_argument("--peers-python", type=Path, help="an interpreter with the peers  [default: one is set up]")
    parser.add_argument("--llama-python", type=Path, help="one with llama-cpp-python  [default: one is set up]")
    parser.add_argument("--keep", type=Path, help="keep all files in this folder, and use those that are there")
    parser.add_argument("--prepare", action="store_true", help="make all files, and measure nothing")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
