"""What compare.py counts and compares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.peers import compare
from benchmarks.peers.sections import CLASSIFICATION, SENTENCES

from tests.conftest import Exported


def test_operations_are_those_of_the_products(
    tiny_export: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "SHAPES", ((1, 8), (3, 8)))
    exported = tiny_export("bert")
    config = exported.model.config
    size, inner, tokens = config.hidden_size, config.intermediate_size, 8
    layer = 2 * tokens * (4 * size * size + 2 * size * inner) + 2 * 2 * tokens * tokens * size
    head = 2 * size * (size + config.num_labels)
    expected = config.num_hidden_layers * layer + head
    found = compare.count_operations(exported.bundle.path)
    assert found == {"1x8": expected, "3x8": 3 * expected}


def test_labels_and_differences_of_logits() -> None:
    expected = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.0], [0.25, 0.0]])
    found = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.5], [0.25, 0.0]])
    assert compare.compare_outputs(CLASSIFICATION, found, expected) == {
        "texts": 4,
        "same_label": 3,
        "largest": 0.5,
        "mean": 0.125,
    }


def test_the_two_vectors_that_are_farthest_apart() -> None:
    expected = np.array([[1.0, 0.0], [0.0, 2.0]])
    found = np.array([[4.0, 3.0], [0.0, 1.0]])
    result = compare.compare_outputs(SENTENCES, found, expected)
    assert result["least_cosine"] == pytest.approx(0.8)
    assert result["largest"] == 3.0


def test_contenders_are_chosen_by_parts_of_their_names() -> None:
    chosen = [one.name for one in compare.choose(CLASSIFICATION, ["transformers.js", "bf16, comp"])]
    assert chosen == ["transformers.js fp32", "transformers.js int8", "torch bf16, compiled"]
    assert len(compare.choose(SENTENCES, None)) == len(SENTENCES.contenders)
