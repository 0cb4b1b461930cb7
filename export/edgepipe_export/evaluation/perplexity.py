"""How well a quantized variant foretells texts, beside its reference: perplexity, agreement and divergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgepipe_export.evaluation.metrics.kl_divergence import divergences, log_softmax
from edgepipe_export.evaluation.parity import Check, Disagreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.evaluation.generation_parity import Writer
    from edgepipe_export.evaluation.tolerance import Tolerance

    Ids = NDArray[np.int64]

# How many bytes of a reference's scores are kept: a token has one for every word of the vocabulary.
_KEPT = 2**29

# How many texts are kept for the report.
_WORST = 10


class Foretold:
    """What a reference foretells of texts: every variant is compared with the same, and it is asked once.

    Scores are kept as far as there is room, those of the first texts first, and asked for again where there is not.

    Attributes:
        name: What reports call the reference.
        encoded: The texts' ids, int64[length] each.
    """

    def __init__(self, writer: Writer, encoded: Sequence[Ids], written: int | None, room: int = _KEPT) -> None:
        """Take over a reference.

        Args:
            writer: The reference.
            encoded: The texts' ids, int64[length] each.
            written: How many tokens of its own a decoder is measured on, in place of the texts'; None for the texts'.
            room: How many bytes of scores are kept.
        """
        self.name = writer.name
        self.encoded = encoded
        self._writer = writer
        self._written = written
        self._room = room
        self._targets: dict[int, Ids] = {}
        self._scores: dict[int, NDArray[np.float32]] = {}

    def target(self, index: int) -> Ids | None:
        """What the reference of an encoder-decoder makes of a text, int64[target]; None where texts are foretold."""
        if self._written is None:
            return None
        if index not in self._targets:
            self._targets[index] = np.array(self._writer.written(self.encoded[index], self._written), np.int64)
        return self._targets[index]

    def scores(self, index: int) -> NDArray[np.float32]:
        """The scores after every token of a text or its target, float32[length or target, vocabulary]."""
        known = self._scores.get(index)
        if known is not None:
            return known
        scores = self._writer.scores(self.encoded[index], self.target(index))
        if scores.nbytes <= self._room:
            self._room -= scores.nbytes
            self._scores[index] = scores.copy()  # a session may give a view of what it writes into again
        return scores


def check_foretelling(reference: Foretold, candidate: Writer, texts: Sequence[str], allowed: Tolerance) -> Check:
    """Compare how well a variant and its reference foretell texts.

    Args:
        reference: What it is compared with.
        candidate: The variant.
        texts: What was encoded, for the report.
        allowed: What the variant may lose.
    """
    surprise = np.zeros(2)
    agreed = tokens = 0
    finite = True
    largest = divergence = 0.0
    shifts: list[float] = []
    for index, ids in enumerate(reference.encoded):
        target = reference.target(index)
        followed = (ids if target is None else target)[1:]
        own, other = reference.scores(index)[:-1], candidate.scores(ids, target)[:-1]
        finite = finite and bool(np.isfinite(other).all())
        largest = max(largest, float(np.abs(own - other).max(initial=0.0)))
        agreed += int((own.argmax(-1) == other.argmax(-1)).sum())
        both = [log_softmax(scores.astype(np.float64)) for scores in (own, other)]
        chosen = np.arange(len(followed)), followed
        own_surprise, other_surprise = (-float(likelihood[chosen].sum()) for likelihood in both)
        shifts.append((other_surprise - own_surprise) / max(len(followed), 1))
        surprise += own_surprise, other_surprise
        divergence += float(divergences(*both).sum())
        tokens += len(followed)
    before, after = np.exp(surprise / tokens)
    return Check(
        "perplexity",
        candidate.name,
        reference.name,
        len(reference.encoded),
        {"logits": largest},
        agreed / tokens,
        f"perplexity at most {allowed.perplexity:g} % above the reference's",
        finite and bool(after <= before * (1 + allowed.perplexity / 100)),
        None,
        {
            "perplexity": float(after),
            "reference_perplexity": float(before),
            "token_agreement": agreed / tokens,
            "kl": divergence / tokens,
        },
        _worst(texts, shifts),
    )


def _worst(texts: Sequence[str], shifts: Sequence[float]) -> tuple[Disagreement, ...]:
    """The texts that the variant foretells worse than the reference, by nats a token."""
    ranked = sorted(range(len(shifts)), key=lambda index: (-shifts[index], index))[:_WORST]
    return tuple(Disagreement(texts[index], None, None, shifts[index]) for index in ranked if shifts[index] > 0)
