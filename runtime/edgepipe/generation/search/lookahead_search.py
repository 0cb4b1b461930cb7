"""Lookahead: one step reads several tokens that may come next, and those are kept that the search chooses itself.

A step that reads a few tokens takes hardly longer than a step that reads one, since both read all weights. So whoever
guesses the next tokens cheaply, from the prompt or with a smaller model, saves steps (Leviathan et al., Fast Inference
from Transformers via Speculative Decoding, arXiv:2211.17192; Saxena, Prompt Lookup Decoding, 2023).

It changes nothing. Behind each candidate the scores go through the very processors, draws and stopping criteria of a
search without lookahead (:class:`~edgepipe.generation.search.token_choice.TokenChoice`), in the same order and each
once: those behind a candidate that was not chosen are never looked at. A draw takes the same random numbers, so with a
seed even samples are the same, and their distribution is kept whatever the candidates are.

One sequence at a time: onnxruntime's GroupQueryAttention takes several tokens behind others for a batch of 1 alone, and
of each row another number would be accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.token_choice import TokenChoice
from edgepipe.generation.stopping_criteria import StoppingCriteria

# How many candidates are tried first, and for how many tokens at most none is tried after failures.
_FIRST = 3
_LONGEST_PAUSE = 32

Tokens = NDArray[np.int64]
_NONE: Tokens = np.empty(0, np.int64)


class CandidateGenerator(Protocol):
    """Guesses what comes next, as the classes of transformers' ``candidate_generator.py`` do."""

    def propose(self, ids: Tokens, most: int) -> Tokens:
        """The tokens that may come next.

        Args:
            ids: The tokens so far, int64[length].
            most: More are of no use.

        Returns:
            int64[candidates], often none.
        """
        ...

    def learn(self, accepted: int) -> None:
        """Know how many of the last candidates were right; called after each step that had some."""
        ...


class CandidateCount:
    """How many candidates are worth trying: twice as many while all are right, fewer and more seldom while none is.

    After a failure the next tokens are written without candidates, one token first and twice as many after each
    further failure, 32 at most. So a text that does not copy loses little.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = min(_FIRST, most)
        self._pause = self._left = 0

    def ask(self) -> int:
        """How many to try now; 0 in a pause, of which this is one token less."""
        if self._left:
            self._left -= 1
            return 0
        return self._count

    def learn(self, tried: int, accepted: int) -> None:
        """Know how many of those tried were right; of at least one."""
        if accepted == tried:
            self._count = min(self._most, 2 * max(self._count, tried))
        else:
            self._count = max(1, self._count // 2, accepted)
        self._pause = 0 if accepted else min(_LONGEST_PAUSE, 2 * self._pause or 1)
        self._left = self._pause


def lookahead_search(
    decoder: Decoder,
    prompt: Prompt,
    config: GenerationConfig,
    stopping: StoppingCriteria,
    first_row: int,
    candidates: CandidateGenerator,
) -> Iterator[tuple[Tokens, Tokens]]:
    """Go on with one sequence until it is finished.

    Args:
        decoder: The loaded graphs, of a decoder that `joins`.
        prompt: What to start from, one row.
        config: The options, of one sequence.
        stopping: When it is finished.
        first_row: How many inputs came before it; see :class:`~edgepipe.generation.search.sampling.Generators`.
        candidates: Guesses.

    Yields:
        As :func:`~edgepipe.generation.search.greedy_search.greedy_search`.
    """
    choice = TokenChoice(decoder, prompt, config, stopping, first_row)
    decoding = decoder.begin(prompt.input_ids, prompt.attention_mask, prompt.longest - 1)
    last, proposed = prompt.ids, _NONE
    while True:
        if proposed.size:
            scores = decoding.step_every(np.concatenate([last[0], proposed])[None])
        else:
            scores = decoding.step(last)[:, None]
        accepted = 0
        while True:
            tokens = choice.choose(scores[:, accepted])
            yield choice.rows, tokens
            if choice.append(tokens) is not None:  # the only row leaves
                return
            if accepted == proposed.size or tokens[0] != proposed[accepted]:
                break
            accepted += 1
        if proposed.size:
            candidates.learn(accepted)
            if accepted < proposed.size:
                decoding.forget(proposed.size - accepted)
        last = tokens[:, None]
        # The last token that fits is never read.
        most = prompt.longest - 1 - choice.sequences.length
        proposed = candidates.propose(choice.sequences.ids[0], most)
