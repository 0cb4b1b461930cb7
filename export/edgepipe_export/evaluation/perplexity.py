"""Perplexity of a quantized variant beside its reference's, how often both expect the same token, and divergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgepipe_export.evaluation.checks import Check, Disagreement, rank_worst
from edgepipe_export.evaluation.gate import decide_by_perplexity
from edgepipe_export.evaluation.metrics.kl_divergence import divergences, log_softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.evaluation.predictors import LanguageModel
    from edgepipe_export.evaluation.tolerances import Tolerance

    Ids = NDArray[np.int64]

# How many bytes of a reference's logits are kept: a token has one for every word of the vocabulary.
_ROOM = 2**29


class ReferenceLogits:
    """A reference's logits for some texts: every variant is compared with the same.

    The logits of the first texts are kept as far as there is room; the others are computed again.

    Attributes:
        name: What reports call the reference.
        encoded: The texts' ids, int64[length] each.
    """

    def __init__(self, model: LanguageModel, encoded: Sequence[Ids], generated: int | None, room: int = _ROOM) -> None:
        """Take over a reference.

        Args:
            model: The reference.
            encoded: The texts' ids, int64[length] each.
            generated: How many tokens of its own a decoder is measured on, in place of the texts'; None for the texts'.
            room: How many bytes of logits are kept.
        """
        self.name = model.name
        self.encoded = encoded
        self._model = model
        self._generated = generated
        self._room = room
        self._targets: dict[int, Ids] = {}
        self._logits: dict[int, NDArray[np.float32]] = {}

    def target(self, index: int) -> Ids | None:
        """What an encoder-decoder makes of a text, int64[target]; None where the text itself is measured on."""
        if self._generated is None:
            return None
        if index not in self._targets:
            self._targets[index] = np.array(self._model.generate(self.encoded[index], self._generated), np.int64)
        return self._targets[index]

    def logits(self, index: int) -> NDArray[np.float32]:
        """The logits after every token of a text or its target, float32[length or target, vocabulary]."""
        known = self._logits.get(index)
        if known is not None:
            return known
        logits = self._model.logits(self.encoded[index], self.target(index))
        if logits.nbytes <= self._room:
            self._room -= logits.nbytes
            self._logits[index] = logits.copy()  # a session may give a view of what it writes into again
        return logits


def check_perplexity(
    reference: ReferenceLogits, candidate: LanguageModel, texts: Sequence[str], tolerance: Tolerance
) -> Check:
    """Compare the perplexity of a variant with its reference's.

    Args:
        reference: What it is compared with.
        candidate: The variant.
        texts: What was encoded, for the report.
        tolerance: What the variant may lose.
    """
    negative_log_likelihood = np.zeros(2)
    agreed = tokens = 0
    finite = True
    largest = divergence = 0.0
    shifts: list[float] = []
    for index, ids in enumerate(reference.encoded):
        target = reference.target(index)
        followed = (ids if target is None else target)[1:]
        own, other = reference.logits(index)[:-1], candidate.logits(ids, target)[:-1]
        finite = finite and bool(np.isfinite(other).all())
        largest = max(largest, float(np.abs(own - other).max(initial=0.0)))
        agreed += int((own.argmax(-1) == other.argmax(-1)).sum())
        both = [log_softmax(logits.astype(np.float64)) for logits in (own, other)]
        chosen = np.arange(len(followed)), followed
        losses = [-float(likelihood[chosen].sum()) for likelihood in both]
        shifts.append((losses[1] - losses[0]) / max(len(followed), 1))
        negative_log_likelihood += losses
        divergence += float(divergences(*both).sum())
        tokens += len(followed)
    before, after = np.exp(negative_log_likelihood / tokens)
    bound, holds = decide_by_perplexity(after, before, tolerance)
    return Check(
        "perplexity",
        candidate.name,
        reference.name,
        len(reference.encoded),
        {"logits": largest},
        agreed / tokens,
        bound,
        passed=finite and holds,
        figures={
            "perplexity": float(after),
            "reference_perplexity": float(before),
            "token_agreement": agreed / tokens,
            "kl": divergence / tokens,
        },
        # The texts whose tokens the variant expects least beside the reference, by nats a token.
        worst=tuple(Disagreement(texts[index], None, None, shifts[index]) for index in rank_worst(shifts)),
    )
