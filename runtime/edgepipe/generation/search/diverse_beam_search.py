"""Diverse beam search: groups of beams, each kept from taking what the groups before it take.

Vijayakumar et al., Diverse Beam Search, arXiv:1610.02424. transformers moved it out of its package with version 5; the
results are those of the versions before, whose scorer differs in small things from the beam search of version 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.logits.logits_processor_list import build_logits_processors
from edgepipe.generation.logits.logits_processors import HammingDiversityLogitsProcessor
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.beam_candidates import NEVER
from edgepipe.generation.search.beam_search import Beam
from edgepipe.generation.search.length_penalty import penalize_length
from edgepipe.generation.search.sequences import Sequences
from edgepipe.generation.stopping_criteria import StoppingCriteria
from edgepipe.numerics import log_softmax, top_indices


class _Group:
    """The best finished beams of a group, in the order in which they came."""

    def __init__(self, size: int, most: int, config: GenerationConfig) -> None:
        self.beams: list[Beam] = []
        self.is_done = False
        self._size = size
        self._most = most
        self._config = config

    def add(self, tokens: list[int], total: float, length: int) -> None:
        """Add a beam if it is good enough.

        Args:
            tokens: Its new tokens.
            total: The sum of their scores.
            length: How many they are, for the penalty.
        """
        score = total / penalize_length(length, self._config.length_penalty)
        scores = [beam.score for beam in self.beams]
        if len(scores) == self._size:
            if score <= min(scores):
                return
            del self.beams[scores.index(min(scores))]
        self.beams.append(Beam(tokens, score))

    def settle(self, total: float, length: int) -> None:
        """The group is done if the best candidate of this step, `total` at `length` tokens, cannot become better."""
        if len(self.beams) < self._size:
            return
        if self._config.early_stopping == "never" and self._config.length_penalty > 0.0:
            length = self._most
        worst = min(beam.score for beam in self.beams)
        best = total / penalize_length(length, self._config.length_penalty)
        self.is_done = self._config.early_stopping is True or worst >= best


class _Input:
    """The groups of one input.

    Attributes:
        running: The scores of the beams that go on, float32[beams].
        groups: The groups.
    """

    def __init__(self, item: int, prompt: Prompt, config: GenerationConfig) -> None:
        self._config = config
        self._start = prompt.length
        self._processors = build_logits_processors(config, prompt)
        self._size = config.num_beams // config.num_beam_groups
        self._inputs = np.full(self._size, item)
        self.groups = [
            _Group(self._size, prompt.longest - prompt.length, config) for _ in range(config.num_beam_groups)
        ]
        self.running = np.full(config.num_beams, NEVER, dtype=np.float32)
        self.running[:: self._size] = 0.0

    def advance(
        self, ids: NDArray[np.int64], log_probabilities: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Choose what every beam goes on with.

        Args:
            ids: The tokens so far, int64[beams, length].
            log_probabilities: Of what follows, float32[beams, vocabulary]; changed in place.

        Returns:
            The tokens, int64[beams], and which beam each follows, int64[beams].
        """
        # A group that is done takes padding, and keeps the groups after it from that.
        tokens = np.full(self._config.num_beams, self._config.pad_token_id or 0)
        parents = np.arange(self._config.num_beams)
        for number, group in enumerate(self.groups):
            if not group.is_done:
                own = slice(number * self._size, (number + 1) * self._size)
                current_tokens = np.tile(tokens[: own.start], (self._size, 1))
                for process in self._processors:
                    if isinstance(process, HammingDiversityLogitsProcessor):
                        process.current_tokens = current_tokens
                    process(ids[own], log_probabilities[own], self._inputs)
                log_probabilities[own] += self.running[own, None]
                tokens[own], parents[own] = self._advance_group(group, own, ids, log_probabilities[own])
        return tokens, parents

    def _advance_group(
        self, group: _Group, own: slice, ids: NDArray[np.int64], totals: NDArray[np.float32]
    ) -> tuple[list[int], list[int]]:
        eos = self._config.eos_token_id
        length = ids.shape[1] + 1 - self._start
        top = top_indices(totals.reshape(-1), max(2, 1 + len(eos)) * self._size)
        top_totals = totals.reshape(-1)[top].tolist()
        chosen: list[tuple[int, int, float]] = []
        for rank, (index, total) in enumerate(zip(top.tolist(), top_totals, strict=True)):
            beam, token = divmod(index, totals.shape[1])
            if token not in eos:
                chosen.append((token, own.start + beam, total))
            elif rank < self._size:
                # Whichever of them it was, the first stands for it.
                group.add([*ids[own.start + beam, self._start :].tolist(), eos[0]], total, length)
            if len(chosen) == self._size:
                break
        group.settle(top_totals[0], length)
        tokens, parents, self.running[own] = zip(*chosen, strict=True)
        return list(tokens), list(parents)

    def close(self, ids: NDArray[np.int64]) -> None:
        """Count the beams that go on, int64[beams, length], among the finished ones of groups that are not done."""
        for number, group in enumerate(self.groups):
            for beam in range(number * self._size, (number + 1) * self._size):
                if not group.is_done:
                    new = ids[beam, self._start :].tolist()
                    group.add(new, float(self.running[beam]), len(new))


def diverse_beam_search(
    decoder: Decoder, prompt: Prompt, config: GenerationConfig, stopping: StoppingCriteria
) -> list[list[Beam]]:
    """Search with groups of beams.

    Args:
        decoder: The loaded graphs.
        prompt: What to start from.
        config: The options.
        stopping: When a sequence is finished.

    Returns:
        For each input `num_beams` beams, the best first.
    """
    width = config.num_beams
    inputs = [_Input(item, prompt, config) for item in range(len(prompt.ids))]
    left = list(inputs)
    sequences = Sequences(np.repeat(prompt.ids, width, axis=0))
    decoding = decoder.begin(prompt.input_ids, prompt.attention_mask, prompt.longest - 1)
    scores = np.repeat(decoding.step(prompt.ids), width, axis=0)
    is_wide = False
    while True:
        log_softmax(scores)
        tokens, parents = np.empty(len(scores), dtype=np.int64), np.empty(len(scores), dtype=np.int64)
        for place, each in enumerate(left):
            rows = slice(place * width, (place + 1) * width)
            tokens[rows], follows = each.advance(sequences.ids[rows], scores[rows])
            parents[rows] = follows + rows.start
        ends = stopping(sequences.ids, tokens, parents).reshape(-1, width).all(axis=1)
        sequences.select(parents)
        sequences.append(tokens)
        kept = np.array([not all(group.is_done for group in each.groups) for each in left])
        for place in np.flatnonzero(kept & ends).tolist():
            left[place].close(sequences.ids[place * width : (place + 1) * width])
        kept &= ~ends
        if not kept.any():
            break
        rows_kept = np.flatnonzero(np.repeat(kept, width))
        left = [each for each, is_kept in zip(left, kept, strict=True) if is_kept]
        moved = parents[rows_kept]
        if not is_wide or not np.array_equal(moved, np.arange(len(scores))):
            decoding.select(moved if is_wide else moved // width)
            is_wide = True
        if not kept.all():
            sequences.select(rows_kept)
        scores = decoding.step(tokens[rows_kept, None])
    finished = [[beam for group in each.groups for beam in group.beams] for each in inputs]
    return [sorted(beams, key=lambda beam: beam.score)[::-1] for beams in finished]
