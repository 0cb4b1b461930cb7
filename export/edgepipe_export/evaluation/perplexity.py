"""Perplexity of a quantized variant beside its reference's, how often both expect the same token, and divergence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from edgepipe_export.evaluation.checks import CACHE_CHECK, Check, Disagreement, rank_worst
from edgepipe_export.evaluation.gate import decide_by_perplexity
from edgepipe_export.evaluation.metrics.intervals import Loss, is_decided, plan_looks
from edgepipe_export.evaluation.metrics.kl_divergence import divergences, log_softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.evaluation.predictors import LanguageModel
    from edgepipe_export.evaluation.tolerances import Tolerance

    Ids = NDArray[np.int64]

# How many texts, or more, the first of several looks takes: each has many tokens.
_FIRST_LOOK = 25

# How many tokens are written behind how many texts to see what comes of rounded keys and values.
_WRITTEN, _WRITTEN_TEXTS = 20, 4

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
    reference: ReferenceLogits,
    candidate: LanguageModel,
    texts: Sequence[str],
    tolerance: Tolerance,
    deadline: float | None = None,
) -> Check:
    """Compare the perplexity of a variant with its reference's.

    Args:
        reference: What it is compared with.
        candidate: The variant.
        texts: What was encoded, for the report.
        tolerance: What the variant may lose.
        deadline: When to stop; see :func:`~.evaluation.gate.check_quantized`.
    """
    count = len(reference.encoded)
    losses: list[list[float]] = []
    lengths: list[int] = []
    agreed = 0
    finite = True
    decided = False
    largest = divergence = 0.0
    for look in plan_looks(count, _FIRST_LOOK, deadline=deadline):
        for index in range(len(losses), look):
            ids, target = reference.encoded[index], reference.target(index)
            followed = (ids if target is None else target)[1:]
            own, other = reference.logits(index)[:-1], candidate.logits(ids, target)[:-1]
            finite = finite and bool(np.isfinite(other).all())
            largest = max(largest, float(np.abs(own - other).max(initial=0.0)))
            agreed += int((own.argmax(-1) == other.argmax(-1)).sum())
            both = [log_softmax(logits.astype(np.float64)) for logits in (own, other)]
            chosen = np.arange(len(followed)), followed
            losses.append([-float(likelihood[chosen].sum()) for likelihood in both])
            lengths.append(len(followed))
            divergence += float(divergences(*both).sum())
        rise = _measure_rise(np.array(losses), np.array(lengths), tolerance)
        if decided := look < count and is_decided([rise]):
            break
    tokens = sum(lengths)
    before, after = np.exp(np.sum(losses, axis=0) / tokens)
    verdict = decide_by_perplexity(100 * (after / before - 1), tolerance)
    shifts = [(own - other) / max(length, 1) for (other, own), length in zip(losses, lengths, strict=True)]
    return Check(
        "perplexity",
        candidate.name,
        reference.name,
        len(losses),
        {"logits": largest},
        agreed / tokens,
        verdict.bound,
        passed=finite and verdict.holds,
        figures={
            "perplexity": float(after),
            "reference_perplexity": float(before),
            "token_agreement": agreed / tokens,
            "kl": divergence / tokens,
        },
        # The texts whose tokens the variant expects least beside the reference, by nats a token.
        worst=tuple(Disagreement(texts[index], None, None, shifts[index]) for index in rank_worst(shifts)),
        stopped=not decided and len(losses) < count,
    )


def check_cache(
    reference: LanguageModel, candidate: LanguageModel, encoded: Sequence[Ids], tolerance: Tolerance
) -> Check:
    """Compare a variant whose keys and values are rounded with the same one whose are not, on long texts.

    Perplexity decides. How many of the tokens are the same that both write behind a few of the texts is a figure.

    Args:
        reference: The variant with a cache in fp32.
        candidate: The variant.
        encoded: The texts' ids, int64[length] each.
        tolerance: What the variant may lose.
    """
    found = check_perplexity(ReferenceLogits(reference, encoded, None, 0), candidate, [""] * len(encoded), tolerance)
    names = {"perplexity": "cache_perplexity", "reference_perplexity": "reference_cache_perplexity"}
    written = _share_written(reference, candidate, encoded[:_WRITTEN_TEXTS])
    return replace(
        found,
        check=CACHE_CHECK,
        reference=f"{reference.name} with an fp32 cache",
        bound=f"cache_{found.bound}",
        figures={
            **{names.get(name, f"cache_{name}"): value for name, value in found.figures.items()},
            "cache_longest_text": max(map(len, encoded)),
            "cache_written_alike": written,
        },
        worst=(),
    )


def _share_written(reference: LanguageModel, candidate: LanguageModel, encoded: Sequence[Ids]) -> float:
    """The share of tokens that two write alike behind texts, each in its place: what comes of a cache step by step."""
    same: list[bool] = []
    for ids in encoded:
        count = min(_WRITTEN, len(ids) - 1)
        one, other = (model.generate(ids[:-count], count) for model in (reference, candidate))
        same += [mine == its for mine, its in zip_longest(one, other)]
    return sum(same) / max(len(same), 1)


def _measure_rise(losses: NDArray[np.float64], lengths: NDArray[np.int64], tolerance: Tolerance) -> Loss:
    """How much perplexity rises, in percent.

    Args:
        losses: Negative log likelihoods of the reference and of the variant, float64[texts, 2].
        lengths: Their tokens, int64[texts].
        tolerance: What it may be.
    """

    def compute(places: Sequence[int]) -> float:
        chosen = list(places)
        before, after = losses[chosen].sum(axis=0) / max(int(lengths[chosen].sum()), 1)
        return 100 * float(np.expm1(after - before))

    return Loss(compute, len(lengths), tolerance.perplexity, step=0.0)
