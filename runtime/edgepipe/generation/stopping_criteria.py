"""When a sequence is finished: at one of its last tokens, at a text, at its greatest length, or out of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edgepipe.errors import InputError
from edgepipe.generation.stop_strings import StopStrings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.generation.config import GenerationConfig
    from edgepipe.tokenization.tokenizer import Tokenizer


class Stopping:
    """Says which sequences are finished. The clock of `max_time` starts when it is made."""

    def __init__(self, config: GenerationConfig, longest: int, tokenizer: Tokenizer | None) -> None:
        if config.stop_strings and tokenizer is None:
            raise InputError(f"stop_strings={list(config.stop_strings)} need the model's tokenizer; pass tokenizer")
        self._eos = config.eos_token_id
        self._longest = longest
        self._deadline = None if config.max_time is None else time.monotonic() + config.max_time
        self._strings = StopStrings(config.stop_strings, tokenizer) if config.stop_strings and tokenizer else None

    def __call__(
        self, ids: NDArray[np.int64], tokens: NDArray[np.int64], parents: NDArray[np.int64] | None = None
    ) -> NDArray[np.bool_]:
        """Which sequences end with the token just chosen.

        Args:
            ids: The tokens before, int64[rows, length].
            tokens: The tokens chosen, int64[chosen].
            parents: Which row each of them follows, int64[chosen]; None where there is one for each row.

        Returns:
            bool[chosen].
        """
        if ids.shape[1] + 1 >= self._longest or (self._deadline is not None and time.monotonic() > self._deadline):
            return np.ones(len(tokens), dtype=bool)
        finished = np.zeros(len(tokens), dtype=bool)
        for token in self._eos:
            finished |= tokens == token
        if self._strings is not None:
            finished |= self._strings(ids if parents is None else ids[parents], tokens)
        return finished
