"""Time to the first token behind a cached prefix: `python -m benchmarks.generation.cached_prefix`.

GPT-2 (124 million weights, random) by variant: prompts of a head of 512 tokens and an end of 16, of which the head is
cached, or not. A prompt is computed, and one token is chosen; its text is tokenized before. Both take turns, with other
ends each time. The tokens must be the same: a pair that differs is counted. The smallest times are compared, because
whatever else the machine does only adds to them; medians stand beside them. What it prints is also written to
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

from edgepipe import Bundle
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder

# The words of the vocabulary's beginning are bytes.
FIRST, LAST = 300, 50_000
# Of the time without a cached prefix.
TARGET = 0.15
MOST_BYTES = 1 << 30


def time_first_token(decoder: Any, ids: list[int], config: GenerationConfig) -> tuple[float, int]:
    """Seconds until the first token of a prompt, and the token."""
    prompt = np.array([ids], np.int64)
    mask = np.ones_like(prompt)
    start = time.perf_counter()
    [[found]] = generate(decoder, prompt, mask, config)
    return time.perf_counter() - start, found.token_ids[0]


def measure(decoder: Any, head: int, end: int, rounds: int) -> dict[str, Any]:
    """The times of one variant, with and without, in turns; and in how many rounds the tokens differed."""
    generator = random.Random(0)
    config = generation_config(decoder, {}, {"max_new_tokens": 1, "do_sample": False})
    prefix = _draw(generator, head)
    without, cached, differing = [], [], 0
    for number in range(-1, rounds):  # a round before does not count
        ids = prefix + _draw(generator, end)
        decoder.prefixes.clear()
        seconds, token = time_first_token(decoder, ids, config)
        decoder.cache_prefix(prefix, MOST_BYTES, pinned=True)
        again, other = time_first_token(decoder, ids, config)
        if number >= 0:
            without.append(seconds)
            cached.append(again)
            differing += token != other
    return {
        "without": min(without),
        "cached": min(cached),
        "without_median": statistics.median(without),
        "cached_median": statistics.median(cached),
        "ratio": min(cached) / min(without),
        "differing": differing,
        "bytes": decoder.prefixes.count_bytes(),
    }


def _draw(generator: random.Random, count: int) -> list[int]:
    return [generator.randrange(FIRST, LAST) for _ in range(count)]


def markdown(record: dict[str, Any]) -> str:
    """The table."""
    head, end = record["head"], record["end"]
    lines = [
        "# Time to the first token behind a cached prefix",
        "",
        f"{record['machine']}.",
        f"{record['versions']}.",
        f"GPT-2, a head of {head} tokens and an end of {end}; the smallest of {record['rounds']} rounds in turns, and "
        "medians in brackets.",
        "Made by `python -m benchmarks.generation.cached_prefix`.",
        "",
        "| variant | without, ms | head cached, ms | ratio | tokens that differ | the head takes, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for dtype, each in record["variants"].items():
        times = [f"{1000 * each[name]:.1f} ({1000 * each[f'{name}_median']:.1f})" for name in ("without", "cached")]
        met = "met" if each["ratio"] <= TARGET else "missed"
        lines.append(
            f"| {dtype} | {times[0]} | {times[1]} | {each['ratio']:.3f} (at most {TARGET}: {met}) | "
            f"{each['differing']} of {record['rounds']} | {each['bytes'] / 1e6:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads
    with make_bundle(arguments.keep) as bundle:
        variants = {}
        for dtype in arguments.dtypes:
            print_progress(f"{dtype}: {arguments.rounds} rounds")
            decoder = load_decoder(Bundle.load(bundle), dtype, SessionConfig(num_threads=threads))
            variants[dtype] = measure(decoder, arguments.head, arguments.end, arguments.rounds)
            decoder.close()
    record = {
        **describe_machine(threads),
        "head": arguments.head,
        "end": arguments.end,
        "rounds": arguments.rounds,
        "variants": variants,
    }
    write_results(arguments.output, "cached-prefix", record, markdown(record))


def _arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, rounds=10)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "w8", "q4"])
    parser.add_argument("--head", type=int, default=512, help="tokens that are cached")
    parser.add_argument("--end", type=int, default=16, help="tokens behind them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
