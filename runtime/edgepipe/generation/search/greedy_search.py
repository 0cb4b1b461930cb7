"""Search without beams: each sequence goes its own way, by the likeliest token or by draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.logits.guidance import build_guidance
from edgepipe.generation.logits.logits_processor_list import build_logits_processors, build_sampling_watermark
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.sampling import Generators, Sampler, likeliest
from edgepipe.generation.search.sequences import Sequences, unfinished_rows
from edgepipe.generation.stopping_criteria import StoppingCriteria


def greedy_search(
    decoder: Decoder, prompt: Prompt, config: GenerationConfig, stopping: StoppingCriteria, first_row: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Go on with every sequence until it is finished; what is finished leaves the batch.

    Args:
        decoder: The loaded graphs.
        prompt: What to start from.
        config: The options; `num_return_sequences` sequences for each input, the first ones those of the first input.
        stopping: When a sequence is finished.
        first_row: How many inputs came before the first of this batch; see :class:`Generators`.

    Yields:
        At each step which sequences got a token, int64[rows], and the tokens, int64[rows].
    """
    processors = build_logits_processors(config, prompt)
    guidance = build_guidance(decoder, prompt, config)
    if guidance is not None:
        processors.insert(0, guidance)
    width = config.num_return_sequences
    inputs = np.repeat(np.arange(len(prompt.ids)), width)
    rows = np.arange(len(inputs))
    takes_likeliest = not processors and not config.do_sample
    choose = likeliest
    if config.do_sample:
        generators = Generators(config.seed, first_row, width)
        watermark = build_sampling_watermark(config, prompt)
        choose = Sampler(config, [generators[row] for row in rows.tolist()], watermark)

    decoding = decoder.begin(prompt.input_ids, prompt.attention_mask, prompt.longest - 1)

    def spread(*found: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """What came of the first step, where each input is there once, for all its sequences."""
        if len(found[0]) == len(rows):
            return found
        decoding.select(inputs)
        return tuple(each[inputs] for each in found)

    # What is drawn from lies among the `top_k` best, and nothing before top-k needs more than these.
    draws_from_best = (
        decoding.scores_on_device
        and config.do_sample
        and config.watermarking_config is None
        and not processors
        and config.top_k
        and config.top_h is None
    )
    sequences = Sequences(prompt.ids[inputs])
    last = prompt.ids
    while True:
        if takes_likeliest:  # on a device tokens leave it, and scores do not
            (tokens,) = spread(decoding.argmax(last))
        elif draws_from_best:
            scores, words = spread(*decoding.top_k(last, config.top_k))
            order = np.argsort(words, axis=1)
            chosen = choose(np.take_along_axis(scores, order, axis=1), rows, sequences.ids)
            tokens = np.take_along_axis(words, order, axis=1)[np.arange(len(rows)), chosen]
        else:
            (scores,) = spread(decoding.step(last))
            for process in processors:
                process(sequences.ids, scores, inputs[rows])
            tokens = choose(scores, rows, sequences.ids)
        yield rows, tokens
        finished = stopping(sequences.ids, tokens)
        sequences.append(tokens)
        if finished.any():
            kept = unfinished_rows(finished)
            if not kept.size:
                return
            rows, tokens = rows[kept], tokens[kept]
            decoding.select(kept)
            sequences.select(kept)
            if guidance is not None:
                guidance.select(kept)
        last = tokens[:, None]
