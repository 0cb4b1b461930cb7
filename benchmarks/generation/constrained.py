"""A token's time with a form and without: `python -m benchmarks.generation.constrained`.

GPT-2 (124 million weights, random, 50,257 tokens), greedy: 64 new tokens behind a prompt of 32, as the pipeline writes
them, free and held to forms that do not end before. Rounds take turns. What compiling a grammar takes comes before, and
is shown apart. What it prints is also written to benchmarks/results, as Markdown and as JSON.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from benchmarks.generation.made_gpt2 import describe_machine, make_bundle, make_parser
from benchmarks.turns import print_progress
from benchmarks.written_results import write_results

from edgepipe import Bundle, Tokenizer
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder

PROMPT, NEW = 32, 64
# What a token may take at most with a form, beside one without.
TARGET = 1.05
# None of them is complete after `NEW` tokens.
FORMS: dict[str, dict[str, Any]] = {
    "free": {},
    "JSON: objects": {
        "json_schema": {
            "type": "array",
            "minItems": NEW,
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"enum": ["a", "b"]}},
                "required": ["name", "age", "tags"],
            },
        }
    },
    "JSON: any": {"json_schema": {"type": "array", "minItems": NEW}},
    "regex: words": {"regex": f"([A-Za-z]{{1,20}} ){{{NEW},}}"},
}


def measure(decoder: Any, config: GenerationConfig, requests: int, seed: int) -> float:
    """Seconds for a token."""
    draws = np.random.default_rng(seed)
    start = time.perf_counter()
    for _ in range(requests):
        ids = draws.integers(300, 50_000, (1, PROMPT))
        [[found]] = generate(decoder, ids, np.ones_like(ids), config)
        assert len(found.token_ids) == NEW
    return (time.perf_counter() - start) / (requests * NEW)


def markdown(record: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# Texts that are held to a form",
        "",
        f"{record['machine']}.",
        f"{record['versions']}.",
        f"GPT-2, {record['dtype']}, {PROMPT} -> {NEW} tokens, greedy; medians of {record['rounds']} rounds in turns.",
        "Made by `python -m benchmarks.generation.constrained`.",
        "",
        "| | ms a token | beside free | ms to make the grammar |",
        "|---|---:|---:|---:|",
    ]
    for name, each in record["forms"].items():
        lines.append(
            f"| {name} | {1000 * each['seconds']:.2f} | {each['ratio']:.3f} x | {1000 * each['compiling']:.1f} |"
        )
    worst = max(each["ratio"] for each in record["forms"].values())
    met = "met" if worst <= TARGET else "missed"
    lines += ["", f"- the slowest beside free: {worst:.3f} x (at most {TARGET} x: {met})"]
    lines += [f"- the tokens of the tokenizer were looked up in {record['table']:.2f} s, once"]
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads
    with make_bundle(arguments.keep) as bundle:
        decoder = load_decoder(Bundle.load(bundle), arguments.dtype, SessionConfig(num_threads=threads))
        tokenizer = Tokenizer.from_pretrained(bundle)
        end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        options = {"max_new_tokens": NEW, "do_sample": False}
        start = time.perf_counter()
        generation_config(decoder, {}, options | {"choices": ["a"], "eos_token_id": end}, tokenizer=tokenizer)
        table = time.perf_counter() - start
        configs, compiling = {}, {}
        for name, form in FORMS.items():
            ends = {"eos_token_id": end} if form else {}  # a free text goes on to its greatest length
            start = time.perf_counter()
            configs[name] = generation_config(decoder, {}, options | ends | form, tokenizer=tokenizer)
            compiling[name] = time.perf_counter() - start
        found: dict[str, list[float]] = {name: [] for name in FORMS}
        for number in range(-1, arguments.rounds):  # a round before does not count
            print_progress(f"round {number + 1} of {arguments.rounds}")
            for name, config in configs.items():
                seconds = measure(decoder, config, arguments.requests, number + 1)
                if number >= 0:
                    found[name].append(seconds)
    record = {
        **describe_machine(threads),
        "dtype": arguments.dtype,
        "rounds": arguments.rounds,
        "table": table,
        "forms": {
            name: {
                "seconds": statistics.median(each),
                "ratio": statistics.median(held / free for held, free in zip(each, found["free"], strict=True)),
                "compiling": compiling[name],
            }
            for name, each in found.items()
        },
    }
    write_results(arguments.output, "constrained", record, markdown(record))


def _arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--dtype", default="w8")
    parser.add_argument("--requests", type=int, default=2, help="of each form in a round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
