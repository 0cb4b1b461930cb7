"""Classifier-free guidance: scores are driven away from those that the model gives without the prompt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder, Decoding
from edgepipe.generation.prompt import Prompt
from edgepipe.numerics import log_softmax

Ids = NDArray[np.int64]


class UnbatchedClassifierFreeGuidanceLogitsProcessor:
    """Weighs scores against those behind another prompt (``UnbatchedClassifierFreeGuidanceLogitsProcessor``).

    Sanchez et al., Stay on topic with Classifier-Free Guidance, arXiv:2306.17806. The other prompt is the last token of
    the prompt where nobody gives one. What is written goes behind both.
    """

    def __init__(self, decoder: Decoder, prompt: Prompt, config: GenerationConfig) -> None:
        self._decoder = decoder
        self._scale = np.float32(config.guidance_scale)
        self._other = config.negative_prompt_ids
        self._most = prompt.longest - prompt.length
        self._decoding: Decoding | None = None

    def __call__(self, ids: Ids, scores: NDArray[np.float32], inputs: Ids) -> None:
        """Change `scores`; called once a step."""
        last = ids[:, -1:]
        if self._decoding is None:
            if self._other:
                last = np.tile(np.array(self._other, np.int64), (len(ids), 1))
            self._decoding = self._decoder.begin(last, np.ones_like(last), last.shape[1] + self._most)
        without = log_softmax(self._decoding.step(last))
        log_softmax(scores)
        scores -= without
        scores *= self._scale
        scores += without

    def select(self, rows: Ids) -> None:
        """Make the rows those of these indices."""
        if self._decoding is not None:
            self._decoding.select(rows)


def build_guidance(
    decoder: Decoder, prompt: Prompt, config: GenerationConfig
) -> UnbatchedClassifierFreeGuidanceLogitsProcessor | None:
    """The guidance that the options ask for; the first of all processors."""
    if config.guidance_scale == 1.0:
        return None
    return UnbatchedClassifierFreeGuidanceLogitsProcessor(decoder, prompt, config)
