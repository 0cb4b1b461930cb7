"""What becomes of scores in a search without beams: processors bend them, a token is chosen, and sequences end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder, Decoding
from edgepipe.generation.logits.constraints.constraint_processor import disallowed_token_error
from edgepipe.generation.logits.guidance import build_guidance
from edgepipe.generation.logits.logits_processor_list import build_logits_processors, build_sampling_watermark
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.sampling import Generators, Sampler, likeliest
from edgepipe.generation.search.sequences import Sequences, unfinished_rows
from edgepipe.generation.stopping_criteria import StoppingCriteria
from edgepipe.numerics import log_softmax, top_indices


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """What the model itself thought of a token, before any option changed its scores.

    Attributes:
        chosen: The token's log-probability.
        best: The likeliest tokens with theirs, the best first.
    """

    chosen: float
    best: tuple[tuple[int, float], ...]


class TokenChoice:
    """The sequences of one search. What they get depends on their own scores alone, whoever shares their steps.

    Attributes:
        rows: Which sequences are still written, int64[rows]: `num_return_sequences` for each input at first.
        sequences: Their tokens.
        takes_likeliest: Whether each row takes the token with the best score, so that nothing else is needed of scores.
        ended: Of the rows before the last :meth:`append`, which came to an end by what they say, bool[rows].
        logprobs: Of the last tokens chosen, where they are wanted; else nothing.
    """

    def __init__(
        self,
        decoder: Decoder,
        prompt: Prompt,
        config: GenerationConfig,
        stopping: StoppingCriteria,
        first_row: int = 0,
        logprobs: int | None = None,
    ) -> None:
        """Begin.

        Args:
            decoder: The loaded graphs; guidance asks them, too.
            prompt: What to start from.
            config: The options.
            stopping: When a sequence is finished.
            first_row: How many inputs came before the first of these; see :class:`Generators`.
            logprobs: Of how many of the likeliest tokens the log-probabilities are wanted; None for none at all.
        """
        self._processors = build_logits_processors(config, prompt)
        self._guidance = build_guidance(decoder, prompt, config)
        if self._guidance is not None:
            self._processors.insert(0, self._guidance)
        self._constraint = config.constraint
        self._stopping = stopping
        self._wanted = logprobs
        self.logprobs: list[TokenLogprobs] = []
        width = config.num_return_sequences
        self._inputs = np.repeat(np.arange(len(prompt.ids)), width)
        self.rows = np.arange(len(self._inputs))
        self.sequences = Sequences(prompt.ids[self._inputs])
        self.ended = np.zeros(len(self.rows), dtype=bool)
        bends = bool(self._processors) or logprobs is not None
        self.takes_likeliest = not bends and not config.do_sample
        # What is drawn from lies among the `top_k` best, and nothing before top-k needs more than these.
        draws_from_best = not bends and config.do_sample and config.watermarking_config is None and not config.top_h
        self._best = config.top_k if draws_from_best else 0
        self._choose = likeliest
        if config.do_sample:
            generators = Generators(config.seed, first_row, width)
            watermark = build_sampling_watermark(config, prompt)
            self._choose = Sampler(config, [generators[row] for row in self.rows.tolist()], watermark)

    def advance(self, decoding: Decoding, last: NDArray[np.int64]) -> NDArray[np.int64]:
        """Have a decoding of all rows take a step, and choose what follows.

        Args:
            decoding: A row for each of `rows`. Before the first step it has one for each input; then it gets them.
            last: What each row of it reads, int64[rows, new].

        Returns:
            The tokens chosen, int64[rows].
        """
        if self.takes_likeliest:  # on a device tokens leave it, and scores do not
            (tokens,) = self._spread(decoding, decoding.argmax(last))
            return tokens
        if decoding.scores_on_device and self._best:
            scores, words = self._spread(decoding, *decoding.top_k(last, self._best))
            order = np.argsort(words, axis=1)
            chosen = self._choose(np.take_along_axis(scores, order, axis=1), self.rows, self.sequences.ids)
            found: NDArray[np.int64] = np.take_along_axis(words, order, axis=1)[np.arange(len(self.rows)), chosen]
            return found
        (scores,) = self._spread(decoding, decoding.step(last))
        return self.choose(scores)

    def choose(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Choose what follows.

        Args:
            scores: Those of each row, float32[rows, vocabulary]; changed in place.

        Returns:
            The tokens chosen, int64[rows].
        """
        own = None if self._wanted is None else log_softmax(scores.copy())
        for process in self._processors:
            process(self.sequences.ids, scores, self._inputs)
        tokens = self._choose(scores, self.rows, self.sequences.ids)
        if self._constraint is not None and any(map(_is_forbidden, scores, tokens.tolist())):
            raise disallowed_token_error(self._constraint)
        if own is not None:
            self.logprobs = [self._look_up(row, token) for row, token in zip(own, tokens.tolist(), strict=True)]
        return tokens

    def append(self, tokens: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Add a token to each row; those that are finished leave.

        Returns:
            The indices of the rows that go on, int64[rows left]; None where none leaves.
        """
        self.ended, limited = self._stopping.find(self.sequences.ids, tokens)
        self.sequences.append(tokens)
        if not limited and not self.ended.any():
            return None
        kept = unfinished_rows(self.ended | limited)
        if kept.size:
            self.rows, self._inputs = self.rows[kept], self._inputs[kept]
            self.sequences.select(kept)
            if self._guidance is not None:
                self._guidance.select(kept)
        return kept

    def _spread(self, decoding: Decoding, *found: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """What came of the first step, where each input is there once, for all its sequences."""
        if len(found[0]) == len(self.rows):
            return found
        decoding.select(self._inputs)
        return tuple(each[self._inputs] for each in found)

    def _look_up(self, logarithms: NDArray[np.float32], token: int) -> TokenLogprobs:
        best = top_indices(logarithms, min(self._wanted, logarithms.size)).tolist() if self._wanted else []
        return TokenLogprobs(float(logarithms[token]), tuple((each, float(logarithms[each])) for each in best))


def _is_forbidden(scores: NDArray[np.float32], token: int) -> bool:
    """Whether a token may not follow, by the scores of its row."""
    return bool(scores[token] == -np.inf)
