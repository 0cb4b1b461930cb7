"""Divergence of distributions, read from logits."""

from __future__ import annotations

import numpy as np
import pytest

from edgepipe_export.evaluation.metrics.kl_divergence import MeanDivergence, divergences, log_softmax


def test_divergence_is_read_where_there_is_text() -> None:
    logits = np.log(np.array([[[0.5, 0.5], [0.9, 0.1]]], np.float32))
    other = np.log(np.array([[[0.25, 0.75], [0.1, 0.9]]], np.float32))
    found = MeanDivergence()
    found.add({"logits": logits}, {"logits": other}, np.array([[1, 0]]))
    assert found.mean == pytest.approx(0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75), rel=1e-5)
    found.add({"last_hidden_state": logits}, {"last_hidden_state": other}, None)
    assert found.count == 1
    starts = MeanDivergence()
    starts.add({"start_logits": np.log([[0.5, 0.5, 7.0]])}, {"start_logits": np.log([[0.25, 0.75, 1.0]])},
               np.array([[1, 1, 0]]))  # fmt: skip
    assert starts.mean == pytest.approx(found.mean, rel=1e-5)
    assert MeanDivergence().mean is None


def test_large_logits_do_not_overflow() -> None:
    found = log_softmax(np.array([[10000.0, 10000.0]]))
    assert found.tolist() == [pytest.approx([np.log(0.5)] * 2)]
    assert divergences(found, found).tolist() == [0]


def test_outputs_that_are_no_distributions_are_passed_over() -> None:
    found = MeanDivergence()
    one_label = np.ones((2, 1), np.float32)
    found.add({"logits": one_label}, {"logits": one_label}, None)
    found.add({"logits": np.ones((2, 3), np.float32)}, {"logits": np.ones((2, 4), np.float32)}, None)
    assert found.count == 0
