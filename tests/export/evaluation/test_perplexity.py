"""How well variants foretell texts: the figures are those of the plain formula, and the reference is asked once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle, Tokenizer
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.checks import CACHE_CHECK
from edgepipe_export.evaluation.generation_comparison import GenerationComparison
from edgepipe_export.evaluation.perplexity import ReferenceLogits, check_cache, check_perplexity
from edgepipe_export.evaluation.tolerances import Tolerance
from tests.tiny.generative import DECODERS

Ids = NDArray[np.int64]

TEXTS = ("It was a fine day, and all of us went out.", "What a waste of time!", "The train leaves at nine.", "No.")
WORDS = 30


class Made:
    """A writer whose scores depend on ids alone, by a seed; it counts what it is asked."""

    def __init__(self, name: str, seed: int, noise: float) -> None:
        self.name = name
        self.asked: Counter[str] = Counter()
        self._table = np.random.default_rng(0).normal(size=(WORDS, WORDS))
        self._table += noise * np.random.default_rng(seed).normal(size=(WORDS, WORDS))

    def step_logits(self, ids: Ids, mask: Ids, following: Ids) -> list[NDArray[np.float32]]:
        raise NotImplementedError

    def logits(self, ids: Ids, target: Ids | None) -> NDArray[np.float32]:
        self.asked["scores"] += 1
        read = ids if target is None else target
        return (self._table[read] + 0.1 * ids.sum() * (target is not None)).astype(np.float32)

    def generate(self, ids: Ids, count: int) -> list[int]:
        self.asked["written"] += 1
        return [int(token) for token in (np.arange(count) * 7 + ids[0]) % WORDS]


def probabilities(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(scores.astype(np.float64))
    found: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return found


def plain(reference: Any, candidate: Any, pairs: list[tuple[Ids, Ids | None]]) -> dict[str, float]:
    """The figures by their definitions, over all tokens at once."""
    own, other = (
        np.concatenate([probabilities(writer.logits(*pair)[:-1]) for pair in pairs])
        for writer in (reference, candidate)
    )
    tokens = np.concatenate([(ids if target is None else target)[1:] for ids, target in pairs])
    before, after = (np.exp(-np.log(side[np.arange(len(tokens)), tokens]).mean()) for side in (own, other))
    return {
        "perplexity": float(after),
        "reference_perplexity": float(before),
        "token_agreement": float((own.argmax(-1) == other.argmax(-1)).mean()),
        "kl": float((own * np.log(own / other)).sum(-1).mean()),
    }


@pytest.fixture
def encoded() -> list[Ids]:
    generator = np.random.default_rng(3)
    return [generator.integers(0, WORDS, length) for length in (9, 2, 17, 5)]


@pytest.mark.parametrize("written", [None, 6])
def test_the_reference_is_asked_once_for_all_variants(encoded: list[Ids], written: int | None) -> None:
    writer = Made("fp32", 1, 0.0)
    reference = ReferenceLogits(writer, encoded, written)
    for seed in (1, 2, 3):
        candidate = Made(f"variant {seed}", seed, 0.1)
        check = check_perplexity(reference, candidate, TEXTS, Tolerance.from_max_drop(None))
        pairs = [(ids, None if written is None else np.array(writer.generate(ids, written))) for ids in encoded]
        assert check.figures == pytest.approx(plain(writer, candidate, pairs), rel=1e-9)
        assert json.loads(json.dumps(check.passed)) is check.passed, "no truth value of numpy: the report is JSON"
        assert check.dtype == f"variant {seed}"
        assert candidate.asked["written"] == 0
        writer.asked.clear()  # what the plain formula asked for
        check_perplexity(reference, candidate, TEXTS, Tolerance.from_max_drop(None))
        assert not writer.asked


def test_what_there_is_no_room_for_is_asked_again(encoded: list[Ids]) -> None:
    sizes = [4 * WORDS * len(ids) for ids in encoded]
    found = []
    for room, again in ((0, 4), (sizes[0] + sizes[1], 2), (sum(sizes), 0)):
        writer = Made("fp32", 1, 0.0)
        reference = ReferenceLogits(writer, encoded, None, room)
        for asked in (len(encoded), again):
            writer.asked.clear()
            found.append(check_perplexity(reference, Made("other", 2, 0.1), TEXTS, Tolerance.from_max_drop(None)))
            assert writer.asked["scores"] == asked
    assert all(check == found[0] for check in found)


@pytest.mark.parametrize("family", ["gpt2", "bart"])
def test_figures_of_real_graphs(writer: Callable[[str], tuple[Any, Any, Bundle]], family: str) -> None:
    """What is kept of one text is not overwritten by the next, and distances read the same scores."""
    model, tokenizer, bundle = writer(family)
    task = "text-generation" if family in DECODERS else "text2text-generation"
    loaded = load(resolve(Request(model, task, tokenizer, None, False, False)))
    comparison = GenerationComparison(bundle, loaded, Tokenizer.from_pretrained(bundle.path), TEXTS)
    # fp32 with itself, through the path of quantized variants: nothing differs, kept or not.
    reference = comparison._reference_logits("fp32")
    kept = [reference.logits(index).copy() for index in range(len(reference.encoded))]
    check = check_perplexity(reference, comparison._model("fp32"), TEXTS, Tolerance.from_max_drop(None))
    assert check.passed
    assert check.differences == {"logits": 0}
    assert check.figures["perplexity"] == check.figures["reference_perplexity"]
    assert check.figures["token_agreement"] == 1
    assert comparison.distance("fp32", bundle) == 0
    for index, scores in enumerate(kept):
        np.testing.assert_array_equal(reference.logits(index), scores)
    if family not in DECODERS:
        ids = reference.encoded[0]
        assert reference.target(0).tolist() == comparison._model("fp32").generate(ids, 20)  # type: ignore[union-attr]


def test_a_rounded_cache_has_figures_of_its_own(encoded: list[Ids]) -> None:
    reference, candidate = Made("w8", 1, 0.0), Made("w8", 2, 0.1)
    check = check_cache(reference, candidate, encoded, Tolerance.from_max_drop(100))
    expected = plain(reference, candidate, [(ids, None) for ids in encoded])
    assert check.figures == pytest.approx(
        {
            "cache_perplexity": expected["perplexity"],
            "reference_cache_perplexity": expected["reference_perplexity"],
            "cache_token_agreement": expected["token_agreement"],
            "cache_kl": expected["kl"],
            "cache_longest_text": 17,
            "cache_written_alike": 1.0,
        }
    )
    assert (check.check, check.dtype, check.reference) == (CACHE_CHECK, "w8", "w8 with an fp32 cache")
    assert check.passed
    refused = check_cache(reference, Made("w8", 3, 3.0), encoded, Tolerance.from_max_drop(0))
    assert not refused.passed
    assert refused.deciding_figure.startswith("cache_perplexity ")
    assert "(bound: cache_perplexity at most 0 % above the reference's)" in refused.deciding_figure


def test_texts_that_go_on_longer_are_not_alike(encoded: list[Ids]) -> None:
    class Brief(Made):
        def generate(self, ids: Ids, count: int) -> list[int]:
            return super().generate(ids, count)[:1]

    check = check_cache(Made("w8", 1, 0.0), Brief("w8", 1, 0.0), encoded, Tolerance())
    assert check.figures["cache_written_alike"] == pytest.approx(4 / (8 + 1 + 16 + 4))
