"""What a token costs behind a long text: `python -m benchmarks.generation.long_texts`.

GPT-2 (127 million weights, every head with keys of its own) and a model in Llama's shape (100 million, three queries a
key), random weights, by variant: one text at a time, and the step that reads one token behind 100, 1,000 and 4,000
others. Texts of all lengths take turns, a few steps each, so that a machine that is busy for a while slows all of them.
A step is taken back before the next one, so that lengths stay. Medians are compared. Beside them is what bytes allow: a
step reads all weights once, and the keys and values of all tokens. What it prints is also written to
benchmarks/results, as Markdown and as JSON.

`--kv-cache-dtypes fp32 int8` measures quantized variants with either cache, in turns too, and `--prompts` how long
prompts take.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.generation.generation_checkpoints import make_apart
from benchmarks.generation.made_gpt2 import describe_machine, make_parser
from benchmarks.turns import print_progress
from benchmarks.written_results import write_results

from edgepipe import Bundle
from edgepipe.backend.session import SessionConfig
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.kv_memory import count_token_bytes

# Words of the vocabulary that every model has.
FIRST, LAST = 300, 30_000
# A step behind the longest text takes at most so many times one behind the shortest.
TARGET = 2.2
# How often a prompt is read.
PROMPTS = 3
# Steps of a text before it is the next one's turn; the first of them does not count.
STEPS = 6


class Text:
    """A text of some length, and what steps behind it took, in seconds.

    Attributes:
        prompt: Seconds that it took to read.
        seconds: Those of each step.
    """

    def __init__(self, decoder: Any, length: int) -> None:
        ids = np.random.default_rng(0).integers(FIRST, LAST, (1, length))
        self._decoding = decoder.begin(ids, np.ones_like(ids), length + 1)
        start = time.perf_counter()
        self._decoding.step(ids)
        self.prompt = time.perf_counter() - start
        self.seconds: list[float] = []

    def measure(self, steps: int) -> None:
        """Take some steps, of which each is taken back."""
        token = np.array([[FIRST]])
        for number in range(steps):
            start = time.perf_counter()
            self._decoding.step(token)
            seconds = time.perf_counter() - start
            self._decoding.forget(1)
            if number:
                self.seconds.append(seconds)


def measure(
    bundles: Mapping[str, Bundle], dtype: str, lengths: list[int], prompts: list[int], rounds: int, threads: int
) -> dict[str, dict[str, Any]]:
    """The steps of one variant behind texts of these lengths, and prompts, by what its cache is kept in."""
    decoders: dict[str, Any] = {
        name: load_decoder(bundle, dtype, SessionConfig(num_threads=threads)) for name, bundle in bundles.items()
    }
    read = {name: [math.inf] * len(prompts) for name in decoders}
    for index, length in enumerate(prompts):
        for _ in range(PROMPTS):
            for name, decoder in decoders.items():
                read[name][index] = min(read[name][index], Text(decoder, length).prompt)
    texts = {name: [Text(decoder, length) for length in lengths] for name, decoder in decoders.items()}
    for _ in range(rounds):
        for index in range(len(lengths)):
            for name in decoders:
                texts[name][index].measure(STEPS)
    found = {}
    for name, decoder in decoders.items():
        token_bytes = count_token_bytes(decoder._layers)
        weights = sum(file.stat().st_size for file in bundles[name].files(dtype))
        found[name] = describe(texts[name], lengths, weights, token_bytes) | {"prompts": read[name]}
        decoder.close()
    return found


def describe(texts: list[Text], lengths: list[int], weights: int, token_bytes: int) -> dict[str, Any]:
    """What was measured, beside the bytes that a step reads."""
    steps = [statistics.median(text.seconds) for text in texts]
    shortest, longest = (weights + length * token_bytes for length in (lengths[0], lengths[-1]))
    return {
        "steps": steps,
        "ratio": steps[-1] / steps[0],
        "ratio_of_bytes": longest / shortest,
        "weight_bytes": weights,
        "token_bytes": token_bytes,
        "bytes_a_second": [(weights + n * token_bytes) / step for n, step in zip(lengths, steps, strict=True)],
    }


def markdown(record: dict[str, Any]) -> str:
    """The table."""
    lengths = record["lengths"]
    names = " | ".join(f"behind {length:,}, ms" for length in lengths)
    lines = [
        "# What a token costs behind a long text",
        "",
        f"{record['machine']}.",
        f"{record['versions']}.",
        f"One text at a time; medians of {record['rounds']} rounds of {STEPS - 1} steps in turns.",
        "Made by `python -m benchmarks.generation.long_texts`.",
        "",
        f"| model | variant | {names} | {lengths[-1]:,} / {lengths[0]:,} | by bytes | read, GB/s |",
        f"|---|---|{'---:|' * (len(lengths) + 3)}",
    ]
    prompts: list[str] = []
    for model, variants in record["models"].items():
        for dtype, each in variants.items():
            prompts += [f"| {model} | {dtype} | {' | '.join(f'{1000 * took:.0f}' for took in each['prompts'])} |"]
            steps = " | ".join(f"{1000 * step:.2f}" for step in each["steps"])
            met = "met" if each["ratio"] <= TARGET else "missed"
            speeds = ", ".join(f"{speed / 1e9:.0f}" for speed in each["bytes_a_second"])
            lines.append(
                f"| {model} | {dtype} | {steps} | {each['ratio']:.2f} (at most {TARGET}: {met}) | "
                f"{each['ratio_of_bytes']:.2f} | {speeds} |"
            )
    if record["prompts"]:
        names = " | ".join(f"prompt of {length:,}, ms" for length in record["prompts"])
        lines += ["", f"Prompts: the least of {PROMPTS}.", "", f"| model | variant | {names} |"]
        lines += [f"|---|---|{'---:|' * len(record['prompts'])}", *prompts]
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = _arguments()
    models: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        for model in arguments.models:
            folder = Path(arguments.keep or temporary) / model
            bundles = {
                name: Bundle.load(make_apart(model, folder, arguments.dtypes, name))
                for name in arguments.kv_cache_dtypes
            }
            models[model] = {}
            for dtype in arguments.dtypes:
                print_progress(f"{model}, {dtype}: {arguments.rounds} rounds")
                caches = {name: bundle for name, bundle in bundles.items() if dtype != "fp32" or name == "fp32"}
                found = measure(
                    caches, dtype, arguments.lengths, arguments.prompts, arguments.rounds, arguments.threads
                )
                models[model] |= {
                    dtype if name == "fp32" else f"{dtype}, {name} cache": each for name, each in found.items()
                }
    record = {
        **describe_machine(arguments.threads),
        "lengths": arguments.lengths,
        "prompts": arguments.prompts,
        "rounds": arguments.rounds,
        "models": models,
    }
    write_results(arguments.output, "long-texts", record, markdown(record))


def _arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, rounds=15)
    parser.add_argument("--models", nargs="+", default=["gpt2-long", "llama-long"])
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "w8"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[100, 1000, 4000], help="tokens before the step")
    parser.add_argument("--kv-cache-dtypes", nargs="+", default=["fp32"], help="what keys and values are kept in")
    parser.add_argument("--prompts", nargs="*", type=int, default=[], help="tokens of prompts that are timed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
