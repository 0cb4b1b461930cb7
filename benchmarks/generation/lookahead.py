"""What prompt lookup wins and loses: `python -m benchmarks.generation.lookahead`.

A decoder in fp32 (GPT-2 of 124 million random weights by default) writes 128 tokens behind 384, with and without
`prompt_lookup_num_tokens`, in turns. What it writes is given, by a logits processor that forces each token: so speed
does not depend on what weights happen to write, and the steps are those of a model that writes just this.

- copies: a run from the middle of the prompt, as an answer from a document
- edits: the prompt from its beginning, every twentieth token another, as an edit of code
- summary: sentences of the prompt in their order, one of them left out after each, with a word of its own between them
- goes on: English text that goes on as it does, which copies nothing but what English repeats
- random: tokens that the prompt does not have

Tokens are words, numbered by the order in which they come. With `--free N` the bundle also writes what it chooses
itself behind N prompts, with and without, and the texts that differ are counted. What it prints is also written to
benchmarks/results, as Markdown and as JSON.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.generation.made_gpt2 import describe_machine, make_bundle, make_parser
from benchmarks.turns import print_progress
from benchmarks.written_results import write_results
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.backend.onnxruntime.io_binding import IoBinding
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder

PROMPT, NEW = 384, 128
# Words get ids from here on; before are special tokens and bytes.
FIRST = 300
# At least so much faster where a text copies, and at most so much slower where it does not.
FASTER, SLOWER = 2.0, 0.05
COPYING = ("copies", "edits", "summary")

Ids = NDArray[np.int64]

_runs: list[None] = []


class ForcedText:
    """A logits processor that has a text written."""

    def __init__(self, prompt: int, text: Ids) -> None:
        self._prompt, self._text = prompt, text

    def __call__(self, ids: Ids, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Make the next token of the text the likeliest."""
        scores[0, self._text[ids.shape[1] - self._prompt]] = 1e6
        return scores


def read_words(vocabulary: int) -> Ids:
    """English prose as token ids, int64[words]: a number for each word and mark."""
    from edgepipe_export.calibration.texts import context_questions

    numbers: dict[str, int] = {}
    prose = dict.fromkeys(context for _, context in context_questions())
    words = re.findall(r"\w+|[^\w\s]", " ".join(prose))
    assert len(words) >= PROMPT + NEW
    ids = [numbers.setdefault(word, FIRST + len(numbers)) for word in words]
    return np.array(ids, np.int64) % vocabulary


def make_texts(words: Ids, vocabulary: int) -> dict[str, tuple[Ids, Ids]]:
    """For each kind the prompt, int64[384], and what follows, int64[128]."""
    prompt = words[:PROMPT]
    others = np.random.default_rng(0).integers(FIRST + len(words), vocabulary, PROMPT)
    edits = prompt[:NEW].copy()
    edits[19::20] = others[: len(edits[19::20])]
    sentences = [prompt[start : start + 16] for start in range(0, PROMPT, 32)]
    summary = np.concatenate([[*sentence, other] for sentence, other in zip(sentences, others, strict=False)])
    return {
        "copies": (prompt, prompt[128 : 128 + NEW]),
        "edits": (prompt, edits),
        "summary": (prompt, summary[:NEW]),
        "goes on": (prompt, words[PROMPT : PROMPT + NEW]),
        "random": (prompt, others[:NEW]),
    }


def time_text(decoder: Any, prompt: Ids, text: Ids, count: int | None) -> float:
    """Seconds for a text behind a prompt."""
    options = {
        "max_new_tokens": len(text),
        "eos_token_id": None,
        "do_sample": False,
        "prompt_lookup_num_tokens": count,
        "logits_processor": [ForcedText(len(prompt), text)],
    }
    config = generation_config(decoder, {}, options)
    _runs.clear()
    start = time.perf_counter()
    ((found,),) = generate(decoder, prompt[None], np.ones((1, len(prompt)), np.int64), config)
    seconds = time.perf_counter() - start
    assert found.token_ids == text.tolist(), "lookahead changed a forced text"
    return seconds


def time_prompt(decoder: Any, prompt: Ids) -> float:
    """Seconds for a prompt and its first token, which lookahead does not change."""
    return time_text(decoder, prompt, prompt[:1], None)


def compare_freely(decoder: Any, words: Ids, prompts: int, count: int) -> tuple[int, int]:
    """How many of so many prompts, and how many tokens in all, get other tokens with lookahead."""
    generator = np.random.default_rng(0)
    differing = tokens = 0
    for number in range(prompts):
        run = generator.choice(words, int(generator.integers(2, 24)))
        ids = (run if number % 2 else np.concatenate([run, run]))[None]
        found = [
            generate(
                decoder,
                ids,
                np.ones_like(ids),
                generation_config(
                    decoder, {}, {"max_new_tokens": 32, "do_sample": False, "prompt_lookup_num_tokens": each}
                ),
            )[0][0].token_ids
            for each in (None, count)
        ]
        tokens += len(found[0])
        differing += found[0] != found[1]
    return differing, tokens


def markdown(record: dict[str, Any]) -> str:
    """The page of a record."""
    lines = [
        "# Prompt lookup",
        "",
        f"{record['machine']}; {record['versions']}.",
        f"{record['bundle']}, {record['dtype']}, {PROMPT} -> {NEW} tokens, prompt_lookup_num_tokens={record['count']}; "
        f"medians of {record['rounds']} rounds in turns, without the time of the prompt.",
        "Made by `python -m benchmarks.generation.lookahead`.",
        "",
        f"| text | tokens a second without | with | steps for {NEW - 1} tokens | ratio | at least | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, each in record["texts"].items():
        least = FASTER if name in COPYING else 1 - SLOWER
        met = "met" if each["ratio"] >= least else "missed"
        lines.append(
            f"| {name} | {each['without']:.1f} | {each['with']:.1f} | {each['steps']} "
            f"| {each['ratio']:.2f} | {least:g} | {met} |"
        )
    if "free" in record:
        free = record["free"]
        lines += [
            "",
            f"Of {free['prompts']} texts written freely, {free['tokens']} tokens, {free['differing']} differed.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    threads = arguments.threads
    run = IoBinding.run

    def counted(binding: IoBinding) -> Any:
        _runs.append(None)
        return run(binding)

    IoBinding.run = counted  # type: ignore[method-assign]
    with make_bundle(arguments.keep) if arguments.bundle is None else nullcontext(arguments.bundle) as path:
        decoder = load_decoder(Bundle.load(path), arguments.dtype, SessionConfig(num_threads=threads))
        vocabulary = int(decoder.config["vocab_size"])
        words = read_words(vocabulary)
        texts = {}
        for name, (prompt, text) in make_texts(words, vocabulary).items():
            times: dict[str, list[float]] = {"prompt": [], "without": [], "with": []}
            for number in range(arguments.rounds):
                print_progress(f"{name}: round {number + 1} of {arguments.rounds}")
                times["prompt"].append(time_prompt(decoder, prompt))
                times["without"].append(time_text(decoder, prompt, text, None))
                times["with"].append(time_text(decoder, prompt, text, arguments.count))
            start, without, ahead = (statistics.median(each) for each in times.values())
            texts[name] = {
                "without": (NEW - 1) / (without - start),
                "with": (NEW - 1) / (ahead - start),
                "ratio": (without - start) / (ahead - start),
                "steps": len(_runs) - 1,
            }
        record = {
            **describe_machine(threads),
            "bundle": decoder.config.get("model_type"),
            "dtype": arguments.dtype,
            "count": arguments.count,
            "rounds": arguments.rounds,
            "texts": texts,
        }
        if arguments.free:
            differing, tokens = compare_freely(decoder, words, arguments.free, arguments.count)
            record["free"] = {"prompts": arguments.free, "tokens": tokens, "differing": differing}
    write_results(arguments.output, "lookahead", record, markdown(record))


def _arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--bundle", type=Path, help="a bundle that writes [default: GPT-2, which is made]")
    parser.add_argument("--dtype", default="fp32", help="pipelines look ahead with fp32 alone")
    parser.add_argument("--count", type=int, default=10, help="prompt_lookup_num_tokens")
    parser.add_argument("--free", type=int, default=0, help="so many prompts are written freely, too, and compared")
    return parser.parse_args()


if __name__ == "__main__":
    main()
