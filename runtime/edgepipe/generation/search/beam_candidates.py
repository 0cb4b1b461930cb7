"""What the beams of an input might go on with: the tokens with the best totals, or drawn ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoding
from edgepipe.generation.logits.logits_processor_list import (
    build_beam_warpers,
    build_logits_processors,
    build_sampling_watermark,
)
from edgepipe.generation.logits.logits_processors import LogitsProcessor
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.sampling import Generators, draw_without_replacement
from edgepipe.numerics import log_softmax, top_indices

Totals = NDArray[np.float32]
Indices = NDArray[np.int64]


# The score of what is no candidate; added to that of what is to lose against every candidate.
NEVER = np.float32(-1e9)


class Candidates:
    """The candidates of every step of a beam search."""

    def __init__(
        self,
        decoding: Decoding,
        prompt: Prompt,
        config: GenerationConfig,
        first_row: int,
        guidance: LogitsProcessor | None = None,
    ) -> None:
        """Begin.

        Args:
            decoding: What gives the scores.
            prompt: What it started from.
            config: The options.
            first_row: See :class:`Generators`.
            guidance: What changes the scores before all else.
        """
        self._decoding = decoding
        self._config = config
        self._width = config.num_beams
        # So many that beams are left to go on with even where every end token is the best that follows.
        self._count = max(2, 1 + len(config.eos_token_id)) * config.num_beams
        self._processors = build_logits_processors(config, prompt)
        if guidance is not None:
            self._processors.insert(0, guidance)
        self._watermark = build_sampling_watermark(config, prompt) if config.do_sample else None
        self._warpers = build_beam_warpers(config) if config.do_sample else []
        draws = Generators(config.seed, first_row, 1)
        self._generators = [draws[item] for item in range(len(prompt.ids))] if config.do_sample else []
        self._takes_best = decoding.scores_on_device and not self._processors and not config.do_sample

    def advance(self, last: Indices, ids: Indices, items: Indices, running: Totals) -> tuple[Totals, Indices, Indices]:
        """Go a step on.

        Args:
            last: The tokens that the decoder has not read, int64[rows, new]: a row for each beam, at the first step one
                for each input.
            ids: The tokens so far, int64[inputs * beams, length].
            items: Which input each is, int64[inputs].
            running: The totals of the beams, float32[inputs, beams].

        Returns:
            Of each input's candidates, the best first: their totals, the sums of log-probabilities, float32[inputs,
            candidates], the tokens, int64[inputs, candidates], and the rows of `ids` that they follow, likewise.
        """
        words = None  # which tokens the scores are of, where not of all
        if self._takes_best:
            scores, words = self._decoding.top_k(last, self._count)
        else:
            scores = self._decoding.step(last)
        if len(scores) < len(ids):
            scores = np.repeat(scores, self._width, axis=0)
            words = None if words is None else np.repeat(words, self._width, axis=0)
        if words is None:
            log_softmax(scores)
        for process in self._processors:
            process(ids, scores, np.repeat(items, self._width))
        for change in self._warpers:
            change(scores)
        if self._watermark is not None:
            self._watermark(ids, scores, np.repeat(items, self._width))
        if self._config.renormalize_logits and self._config.do_sample:
            log_softmax(scores)
        scores += running.reshape(-1, 1)
        totals = scores.reshape(len(items), -1)
        top = np.stack([self._choose(row, item) for row, item in zip(totals, items.tolist(), strict=True)])
        beams, tokens = np.divmod(top, scores.shape[1])
        parents = beams + np.arange(len(items))[:, None] * self._width
        if words is not None:
            tokens = words[parents, tokens]
        return totals[np.arange(len(items))[:, None], top], tokens, parents

    def _choose(self, totals: Totals, item: int) -> Indices:
        """Indices of an input's candidates among all totals of its beams, float32[beams * vocabulary]."""
        if self._config.do_sample:
            drawn = draw_without_replacement(totals, self._count, self._generators[item])
            best_first: Indices = drawn[np.argsort(-totals[drawn], kind="stable")]
            return best_first
        return top_indices(totals, self._count)
