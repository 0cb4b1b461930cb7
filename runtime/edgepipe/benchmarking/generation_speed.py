"""How fast a decoder reads a prompt and, apart from it, writes: arithmetic bounds the one, memory the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgepipe.benchmarking.results import GenerationLatency, Latency
from edgepipe.benchmarking.timing import take_turns
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.pipelines.base import Task

# Tokens that are written after a prompt: enough for a median.
NEW_TOKENS = 32


def request_options(task: Task) -> dict[str, Any]:
    """Options with which a request always writes as many tokens, in one way: `NEW_TOKENS`, the likeliest."""
    options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "num_beams": 1, "do_sample": False}
    language = task.tokenizer.language
    if language is None or not {"src_lang", "tgt_lang"} <= set(getattr(task, "own_options", ())):
        return options
    code = language.removeprefix("__").removesuffix("__")
    return {**options, "src_lang": code, "tgt_lang": code}


def measure_generation(
    decoder: Decoder,
    ids: Sequence[int],
    shapes: Sequence[tuple[int, int]],
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> tuple[GenerationLatency, ...]:
    """Time prompts and single steps behind them, all shapes (batch size, tokens of the prompt) in every round.

    `seconds` is the measuring time of each shape over all rounds; at least one prompt a round is run.

    Raises:
        InputError: a prompt is longer than the model takes.
    """
    progress("warming up")
    for batch, length in shapes:
        _generate(decoder, ids, batch, length)
    turns = [partial(_time_shape, decoder, ids, *shape, seconds / rounds) for shape in shapes]
    found = take_turns(turns, rounds, lambda done: progress(f"generation, round {done + 1} of {rounds}"))
    return tuple(
        GenerationLatency.of(
            *shape, Latency.of([prompts for prompts, _ in own]), Latency.of([steps for _, steps in own])
        )
        for shape, own in zip(shapes, found, strict=True)
    )


def _time_shape(
    decoder: Decoder, ids: Sequence[int], batch: int, length: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Seconds of each prompt and of each step, for at least one prompt."""
    prompts: list[float] = []
    steps: list[float] = []
    end = time.perf_counter() + seconds
    while not prompts or time.perf_counter() < end:
        prompt, each = _generate(decoder, ids, batch, length)
        prompts.append(prompt)
        steps += each
    return prompts, steps


def _generate(decoder: Decoder, ids: Sequence[int], batch: int, length: int) -> tuple[float, list[float]]:
    """Seconds until the scores behind a prompt, and of each step that follows; which tokens are written is all one."""
    prompt = np.tile(np.resize(np.asarray(ids, np.int64), length), (batch, 1))
    first = prompt[:, :1] if decoder.is_encoder_decoder else prompt
    room = first.shape[1] + NEW_TOKENS
    if decoder.max_length is not None:
        room = min(room, decoder.max_length)
    start = time.perf_counter()
    decoding = decoder.begin(prompt, np.ones_like(prompt), room)
    decoding.step(first)
    prompt_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(room - first.shape[1]):
        start = time.perf_counter()
        decoding.step(prompt[:, :1])
        seconds.append(time.perf_counter() - start)
    return prompt_seconds, seconds
