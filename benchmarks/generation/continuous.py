"""Tokens a second of requests that share their steps: `python -m benchmarks.generation.continuous`.

GPT-2 (124 million weights, random), w8: one client and eight at a time, each with a prompt of 32 tokens and 64 new
ones, greedy, through ContinuousBatch. A client has its next request when the last is answered. Rounds take turns.
Beside them the pipeline's own search, and which part of the time is not the graph's. What it prints is also written to
benchmarks/results, as Markdown and as JSON.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from typing import Any

import numpy as np
from benchmarks.generation.made_gpt2 import describe_machine, make_bundle, make_parser
from benchmarks.turns import print_progress
from benchmarks.written_results import write_results

from edgepipe import Bundle, Tokenizer
from edgepipe.backend.onnxruntime.io_binding import IoBinding
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.continuous_batching import ContinuousBatch
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder

PROMPT, NEW = 32, 64
# The words of the vocabulary's beginning are bytes.
FIRST, LAST = 300, 50_000
# Of one client's tokens a second, with eight.
TARGET = 2.5

_graph_seconds: list[float] = []


def measure(decoder: Any, tokenizer: Tokenizer, clients: int, requests: int, seed: int) -> tuple[float, float]:
    """Tokens a second of so many clients, of which each makes so many requests; and the share not the graph's."""
    generator = random.Random(seed)
    config = generation_config(decoder, {}, {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False})
    batch = ContinuousBatch(decoder, tokenizer)
    left = {batch.add(_draw(generator), config): requests - 1 for _ in range(clients)}
    tokens = 0
    _graph_seconds.clear()
    start = time.perf_counter()
    while len(batch):
        for step in batch.step():
            tokens += 1
            if step.finish_reason is not None and (more := left.pop(step.running)):
                left[batch.add(_draw(generator), config)] = more - 1
    seconds = time.perf_counter() - start
    assert tokens == clients * requests * NEW
    return tokens / seconds, 1 - sum(_graph_seconds) / seconds


def measure_alone(decoder: Any, requests: int, seed: int) -> float:
    """Tokens a second of the pipeline's own search, one request after another."""
    generator = random.Random(seed)
    config = generation_config(decoder, {}, {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False})
    start = time.perf_counter()
    for _ in range(requests):
        ids = np.array([_draw(generator)], np.int64)
        generate(decoder, ids, np.ones_like(ids), config)
    return requests * NEW / (time.perf_counter() - start)


def _draw(generator: random.Random) -> list[int]:
    return [generator.randrange(FIRST, LAST) for _ in range(PROMPT)]


def markdown(record: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# Requests that share their steps",
        "",
        f"{record['machine']}.",
        f"{record['versions']}.",
        f"GPT-2, {record['dtype']}, {PROMPT} -> {NEW} tokens, greedy; medians of {record['rounds']} rounds in turns.",
        "Made by `python -m benchmarks.generation.continuous`.",
        "",
        "| | tokens a second | not the graph's time |",
        "|---|---:|---:|",
        f"| the pipeline's own search, one request at a time | {record['alone']:.1f} | |",
    ]
    for clients, each in record["clients"].items():
        lines.append(f"| {clients} client{'s'[: clients != '1']} | {each['speed']:.1f} | {100 * each['share']:.1f} % |")
    met = "met" if record["ratio"] >= TARGET else "missed"
    lines += ["", f"- {record['most']} clients beside one: {record['ratio']:.2f} x (at least {TARGET} x: {met})"]
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads
    run = IoBinding.run

    def timed(binding: IoBinding) -> Any:
        start = time.perf_counter()
        try:
            return run(binding)
        finally:
            _graph_seconds.append(time.perf_counter() - start)

    IoBinding.run = timed  # type: ignore[method-assign]
    with make_bundle(arguments.keep) as bundle:
        decoder = load_decoder(Bundle.load(bundle), arguments.dtype, SessionConfig(num_threads=threads))
        tokenizer = Tokenizer.from_pretrained(bundle)
        found: dict[int, list[tuple[float, float]]] = {clients: [] for clients in arguments.clients}
        alone = []
        for number in range(-1, arguments.rounds):  # a round before does not count
            print_progress(f"round {number + 1} of {arguments.rounds}")
            speed = measure_alone(decoder, arguments.requests, number)
            for clients in arguments.clients:
                each = measure(decoder, tokenizer, clients, arguments.requests, number)
                if number >= 0:
                    found[clients].append(each)
            if number >= 0:
                alone.append(speed)
    first, *_, last = found.values()
    record = {
        **describe_machine(threads),
        "dtype": arguments.dtype,
        "rounds": arguments.rounds,
        "alone": statistics.median(alone),
        "clients": {
            str(clients): {
                "speed": statistics.median(speed for speed, _ in each),
                "share": statistics.median(share for _, share in each),
            }
            for clients, each in found.items()
        },
        "most": arguments.clients[-1],
        "ratio": statistics.median(many / one for (one, _), (many, _) in zip(first, last, strict=True)),
    }
    write_results(arguments.output, "continuous", record, markdown(record))


def _arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--dtype", default="w8")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--requests", type=int, default=2, help="of each client in a round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
