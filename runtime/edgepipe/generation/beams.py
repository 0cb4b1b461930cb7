"""Beam search: the likeliest sequences, found by going on with several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepipe.generation.processing import beam_warpers, processors
from edgepipe.generation.sampling import Generators, draw_without_replacement
from edgepipe.generation.selection import log_softmax, top_indices
from edgepipe.generation.sequences import Sequences

if TYPE_CHECKING:
    from edgepipe.generation.decoding import Decoder
    from edgepipe.generation.options import GenerationConfig
    from edgepipe.generation.prompt import Prompt
    from edgepipe.generation.stopping import Stopping

# The score of what is no candidate; added to that of what is to lose against every candidate.
NEVER = np.float32(-1e9)


@dataclass(frozen=True, slots=True)
class Beam:
    """A finished beam.

    Attributes:
        tokens: Its new tokens.
        score: Its log-probability, divided by its length to the power of the length penalty.
    """

    tokens: list[int]
    score: float


def beam_search(
    decoder: Decoder, prompt: Prompt, config: GenerationConfig, stopping: Stopping, first_row: int
) -> list[list[Beam]]:
    """Search as transformers' ``_beam_search`` (5.23) does, with inputs that leave the batch once they are settled.

    Args:
        decoder: The loaded graphs.
        prompt: What to start from.
        config: The options.
        stopping: When a sequence is finished.
        first_row: How many inputs came before the first of this batch; see :class:`Generators`.

    Returns:
        For each input `num_beams` beams, the best first.
    """
    width = config.num_beams
    # So many candidates that beams are left to go on with even where every end token is the best that follows.
    candidates = max(2, 1 + len(config.eos_token_id)) * width
    bend = processors(config, prompt)
    warp = beam_warpers(config) if config.do_sample else []
    draws = Generators(config.seed, first_row, 1)
    generators = [draws[item] for item in range(len(prompt.ids))] if config.do_sample else []

    finished: list[list[Beam]] = [[] for _ in prompt.ids]
    items = np.arange(len(prompt.ids))
    # Until the beams of an input differ only the first counts.
    running = np.zeros((len(items), width), dtype=np.float32)
    running[:, 1:] = NEVER
    sequences = Sequences(np.repeat(prompt.ids, width, axis=0))
    decoding = decoder.begin(prompt.input_ids, prompt.attention_mask, prompt.longest - 1)
    scores = np.repeat(decoding.step(prompt.ids), width, axis=0)
    is_wide = False
    while True:
        log_softmax(scores)
        for process in bend:
            process(sequences.ids, scores, np.repeat(items, width))
        for change in warp:
            change(scores)
        if config.renormalize_logits and config.do_sample:
            log_softmax(scores)
        vocabulary = scores.shape[1]
        scores += running.reshape(-1, 1)
        totals = scores.reshape(len(items), width * vocabulary)
        if config.do_sample:
            best = [draw_without_replacement(totals[place], candidates, generators[i]) for place, i in enumerate(items)]
        else:
            best = [top_indices(row, candidates) for row in totals]
        top = np.stack(best)
        top_scores = np.take_along_axis(totals, top, axis=1)
        beams, tokens = np.divmod(top, vocabulary)
        parents = beams + np.arange(len(items))[:, None] * width
        ends = stopping(sequences.ids, tokens.ravel(), parents.ravel()).reshape(top.shape)

        length = sequences.length + 1 - prompt.length
        penalized = top_scores / np.float32(length**config.length_penalty)
        for place, item in enumerate(items.tolist()):
            for rank in np.flatnonzero(ends[place, :width] & (penalized[place, :width] >= NEVER)):
                new = sequences.ids[parents[place, rank], prompt.length :].tolist()
                finished[item].append(Beam([*new, int(tokens[place, rank])], float(penalized[place, rank])))
            finished[item] = sorted(finished[item], key=lambda beam: -beam.score)[:width]

        rest = top_scores + ends * NEVER
        order = np.argsort(-rest, axis=1, kind="stable")[:, :width]
        running, tokens, parents = (np.take_along_axis(each, order, axis=1) for each in (rest, tokens, parents))
        kept = np.array(
            [
                not ends[place].all() and _is_open(finished[item], float(running[place, 0]), length, prompt, config)
                for place, item in enumerate(items.tolist())
            ]
        )
        if not kept.any():
            break
        items, running, tokens, parents = items[kept], running[kept], tokens[kept].ravel(), parents[kept].ravel()
        if not is_wide:
            decoding.select(parents // width)
            is_wide = True
        elif not np.array_equal(parents, np.arange(len(scores))):
            decoding.select(parents)
        sequences.select(parents)
        sequences.append(tokens)
        scores = decoding.step(tokens[:, None])
    return [beams + [Beam([], float(NEVER))] * (width - len(beams)) for beams in finished]


def _is_open(finished: list[Beam], best: float, length: int, prompt: Prompt, config: GenerationConfig) -> bool:
    """Whether a beam that goes on, `best` so far, might still be better than one that is finished."""
    if len(finished) < config.num_beams:
        worst = float(NEVER)
    elif config.early_stopping is True:
        return False
    else:
        worst = finished[-1].score
    if config.early_stopping == "never" and config.length_penalty > 0.0:
        length = prompt.longest - prompt.length
    return float(np.float32(best) / np.float32(length**config.length_penalty)) > worst
