"""Buckets on real architectures: what padding leaves as it is, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgepipe import Bundle, Model, pipeline
from edgepipe.backend.session import SessionConfig
from tests.conftest import Exported

BUCKETS = [(1, 16), (4, 32)]
CONFIG = SessionConfig(buckets=BUCKETS)


def batches(model: Model) -> list[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]]:
    generator = np.random.default_rng(0)
    found = []
    for rows, tokens in [(1, 5), (1, 16), (1, 9), (2, 20), (4, 32), (3, 7), (3, 31), (5, 4)]:
        ids = generator.integers(5, model.config["vocab_size"], size=(rows, tokens))
        mask = np.ones_like(ids)
        mask[-1, (tokens + 1) // 2 :] = rows == 1  # the last row of a batch ends early
        found.append({"input_ids": ids, "attention_mask": mask})
    return found


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("bert", "token-classification"),
        ("roberta", "question-answering"),
    ],
)
def test_results_are_those_without_buckets(architecture: str, task: str, tiny_export: Callable[..., Exported]) -> None:
    bundle = tiny_export(architecture, task=task).bundle
    plain, bucketed = Model(bundle), Model(bundle, session=CONFIG)
    bucketed.warm_up()
    assert bucketed._bucketed is not None
    for feeds in batches(plain):
        expected, found = plain(**feeds), bucketed(**feeds)
        rows, tokens = feeds["input_ids"].shape
        assert bucketed._bucketed.is_used(rows, tokens) is (rows <= 4)
        assert {name: array.shape for name, array in found.items()} == {
            name: array.shape for name, array in expected.items()
        }
        for name, array in expected.items():
            real = feeds["attention_mask"].astype(bool)
            if array.shape[:2] == real.shape:  # what a model says of padding means nothing
                np.testing.assert_allclose(found[name][real], array[real], rtol=1e-3, atol=1e-5)
            else:
                np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-5)


def test_a_model_that_convolves_over_tokens_is_not_padded(tiny_export: Callable[..., Exported]) -> None:
    bundle = tiny_export("convbert", task="text-classification").bundle
    plain, bucketed = Model(bundle), Model(bundle, session=CONFIG)
    assert bucketed._bucketed is not None
    for feeds in batches(plain):
        np.testing.assert_allclose(bucketed(**feeds)["logits"], plain(**feeds)["logits"], rtol=1e-4, atol=1e-5)
    assert not bucketed._bucketed.is_used(1, 9)
    assert bucketed._bucketed.is_used(1, 16)


def test_a_dynamically_quantized_model_keeps_its_own_scales(exported: Bundle) -> None:
    plain, bucketed = Model(exported, "int8"), Model(exported, "int8", CONFIG)
    for feeds in batches(plain):
        np.testing.assert_allclose(bucketed(**feeds)["logits"], plain(**feeds)["logits"], rtol=1e-3, atol=1e-3)


def test_a_pipeline_says_the_same(tiny_export: Callable[..., Exported]) -> None:
    bundle = tiny_export("bert", task="token-classification").bundle
    texts = ["Hugging Face is in New York.", "A", "My name is Sarah and I live in London, by the river.", "word " * 40]
    plain = pipeline(model=bundle, batch_size=3)
    bucketed = pipeline(model=bundle, batch_size=3, buckets=BUCKETS)
    for ours, theirs in zip(bucketed(texts), plain(texts), strict=True):
        assert [each["word"] for each in ours] == [each["word"] for each in theirs]
        assert [each["entity"] for each in ours] == [each["entity"] for each in theirs]
        np.testing.assert_allclose([e["score"] for e in ours], [e["score"] for e in theirs], atol=1e-5)
