"""Beam search: the likeliest sequences, found by going on with several at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.logits.guidance import build_guidance
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.beam_candidates import NEVER, Candidates
from edgepipe.generation.search.length_penalty import penalize_length
from edgepipe.generation.search.sequences import Sequences, unfinished_rows
from edgepipe.generation.stopping_criteria import StoppingCriteria


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
    decoder: Decoder, prompt: Prompt, config: GenerationConfig, stopping: StoppingCriteria, first_row: int
) -> list[list[Beam]]:
    """Search as transformers' ``_beam_search`` (5.24) does, with inputs that leave the batch once they are settled.

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
    finished: list[list[Beam]] = [[] for _ in prompt.ids]
    items = np.arange(len(prompt.ids))
    # Until the beams of an input differ only the first counts.
    running: NDArray[np.float32] = np.zeros((len(items), width), dtype=np.float32)
    running[:, 1:] = NEVER
    sequences = Sequences(np.repeat(prompt.ids, width, axis=0))
    decoding = decoder.begin(prompt.input_ids, prompt.attention_mask, prompt.longest - 1)
    guidance = build_guidance(decoder, prompt, config)
    candidates = Candidates(decoding, prompt, config, first_row, guidance)
    last = prompt.ids
    is_wide = False
    while True:
        totals, tokens, parents = candidates.advance(last, sequences.ids, items, running)
        ends = stopping(sequences.ids, tokens.ravel(), parents.ravel()).reshape(tokens.shape)

        length = sequences.length + 1 - prompt.length
        penalized = totals / np.float32(penalize_length(length, config.length_penalty))
        rest = totals + ends.astype(np.float32) * NEVER
        settled = np.ones(len(items), dtype=bool)
        for place, item in enumerate(items.tolist()):
            for rank in np.flatnonzero(ends[place, :width] & (penalized[place, :width] >= NEVER)):
                new = sequences.ids[parents[place, rank], prompt.length :].tolist()
                finished[item].append(Beam([*new, int(tokens[place, rank])], float(penalized[place, rank])))
            finished[item] = sorted(finished[item], key=lambda beam: -beam.score)[:width]
            is_open = _is_open(finished[item], float(rest[place].max()), length, prompt, config)
            settled[place] = not is_open or ends[place].all()
        if settled.all():
            break

        kept = unfinished_rows(settled)
        order = np.argsort(-rest[kept], axis=1, kind="stable")[:, :width]
        if guidance is None and not decoder.mixes_rows:
            order = np.stack(
                [_keep_rows_of_beams(row, beams) for row, beams in zip(order, parents[kept] % width, strict=True)]
            )
        if (
            guidance is not None
        ):  # what it reads stays in its place, whichever beam comes there: so it is in transformers
            guidance.select((kept[:, None] * width + np.arange(width)).ravel())
        chosen = (kept[:, None], order)
        running, rows = rest[chosen], parents[chosen]
        items, moved, last = items[kept], rows.ravel(), tokens[chosen].reshape(-1, 1)
        if not is_wide:
            decoding.select(moved // width)
            is_wide = True
        elif not np.array_equal(moved, np.arange(len(parents) * width)):
            decoding.select(moved)
        sequences.select(moved)
        sequences.append(last[:, 0])
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
    return float(np.float32(best) / np.float32(penalize_length(length, config.length_penalty))) > worst


def _keep_rows_of_beams(order: NDArray[np.int64], beams: NDArray[np.int64]) -> NDArray[np.int64]:
    """Candidates in an order in which those that go on with a beam stay where it is, so that little has to move.

    Args:
        order: The candidates that go on, int64[beams].
        beams: Which beam each candidate follows, int64[candidates].
    """
    placed = np.full(len(order), -1)
    others = []
    for candidate in order.tolist():
        if placed[beams[candidate]] < 0:
            placed[beams[candidate]] = candidate
        else:
            others.append(candidate)
    placed[placed < 0] = others
    return placed
