"""Candidates from a smaller model with the same tokens: it writes what it takes for likely, and the model checks it.

Transformers' ``AssistedCandidateGenerator`` (5.24, https://huggingface.co/blog/assisted-generation). The assistant
takes its likeliest tokens, bent by the options as the model's own scores are, and stops at one that it is not sure of.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder, Decoding
from edgepipe.generation.logits.logits_processor_list import build_logits_processors
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.lookahead_search import CandidateCount, Tokens
from edgepipe.numerics import count_shared, log_softmax

_FIRST_ROW = np.zeros(1, np.int64)


class AssistedCandidateGenerator:
    """Has an assistant write; see the module."""

    def __init__(self, assistant: Decoder, prompt: Prompt, config: GenerationConfig) -> None:
        """Begin.

        Args:
            assistant: Its loaded graphs, of a decoder that `joins`.
            prompt: What the search starts from, one row.
            config: The options of the search.
        """
        self._assistant = assistant
        self._prompt = prompt
        self._ends = config.eos_token_id
        self._least = np.log(max(config.assistant_confidence_threshold, 1e-30))
        # The caller's own functions, and the form that a text is held to, are asked about the text alone.
        bending = replace(
            config,
            do_sample=False,
            logits_processor=(),
            prefix_allowed_tokens_fn=None,
            watermarking_config=None,
            constraint=None,
            prompt_lookup_num_tokens=None,
        )
        self._processors = build_logits_processors(bending, prompt)
        self._count = CandidateCount(config.num_assistant_tokens)
        self._decoding: Decoding | None = None
        self._read: Tokens = np.empty(0, np.int64)  # what the assistant has read
        self._tried = 0

    def propose(self, ids: Tokens, most: int) -> Tokens:
        """See :class:`~edgepipe.generation.search.lookahead_search.CandidateGenerator`."""
        number = min(self._count.ask(), most)
        if self._assistant.max_length is not None:  # it never reads its last guess
            number = min(number, self._assistant.max_length - len(ids) + 1)
        if number <= 0:
            return ids[:0]
        text = ids
        scores = self._advance(ids)
        while len(text) < len(ids) + number:
            token, logarithm = self._choose(text, scores)
            if logarithm < self._least:
                break
            text = np.append(text, token)
            if token in self._ends or len(text) == len(ids) + number:
                break
            scores = self._step(text[-1:])
        found = text[len(ids) :]
        self._tried = len(found)
        return found

    def learn(self, accepted: int) -> None:
        """See :class:`~edgepipe.generation.search.lookahead_search.CandidateGenerator`."""
        self._count.learn(self._tried, accepted)

    def _advance(self, ids: Tokens) -> NDArray[np.float32]:
        """Have the assistant read what it has not read of a text; float32[1, vocabulary], what follows it."""
        common = count_shared(self._read, ids[:-1])
        if self._decoding is None:
            prompt = self._prompt
            mask = np.ones((1, len(ids)), np.int64)
            mask[:, : prompt.length] = prompt.attention_mask
            self._decoding = self._assistant.begin(ids[None], mask, prompt.longest - 1)
        elif common < len(self._read):
            self._decoding.forget(len(self._read) - common)
        self._read = self._read[:common]
        return self._step(ids[common:])

    def _step(self, tokens: Tokens) -> NDArray[np.float32]:
        assert self._decoding is not None
        self._read = np.concatenate([self._read, tokens])
        return self._decoding.step(tokens[None])

    def _choose(self, text: Tokens, scores: NDArray[np.float32]) -> tuple[int, float]:
        """The likeliest token behind a text, and its log-probability."""
        for process in self._processors:
            process(text[None], scores, _FIRST_ROW)
        token = int(scores[0].argmax())
        return token, float(log_softmax(scores)[0, token])
