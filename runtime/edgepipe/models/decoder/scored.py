"""What is asked of the scores of a step, alike for decoders of one graph and for those with an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.models.decoder.logits_output import Logits


class ScoredDecoding(ABC):
    """A :class:`~edgepipe.generation.decoder_protocol.Decoding` without its rows: who has them runs the graph.

    Attributes:
        keeps_scores: See :class:`~edgepipe.generation.decoder_protocol.Decoding`.
    """

    keeps_scores: bool
    _logits: Logits

    @abstractmethod
    def _run(self, tokens: NDArray[np.int64], bind_scores: Callable[[int, int], None]) -> Mapping[str, Any]:
        """Append tokens and run the graph.

        Args:
            tokens: int64[rows, new].
            bind_scores: Names the scores' output for so many rows and new tokens.

        Returns:
            The values of the outputs that onnxruntime made room for.
        """

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        logits = self._logits  # which a run may leave behind with its binding
        return logits.read(self._run(tokens, logits.bind))

    def likeliest(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        if not self.keeps_scores:
            found: NDArray[np.int64] = self.step(tokens).argmax(axis=1)
            return found
        logits = self._logits
        return logits.likeliest(self._run(tokens, logits.bind_on_device))

    def best(self, tokens: NDArray[np.int64], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        logits = self._logits
        return logits.best(self._run(tokens, logits.bind_on_device), count)
