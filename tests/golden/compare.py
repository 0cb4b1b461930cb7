"""Results equal to the reference: keys, types, order and labels exactly, scores within the bound of parity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

SCORE_TOLERANCE = 1e-4


def assert_same(actual: Any, expected: Any, where: str = "result") -> None:
    """Compare two results of a pipeline, down to the types; numbers are Python's where the reference has numpy's."""
    if isinstance(expected, np.floating):
        expected = float(expected)
    assert type(actual) is type(expected), f"{where}: {actual!r} instead of {expected!r}"
    if isinstance(expected, dict):
        assert list(actual) == list(expected), f"{where}: keys {list(actual)} instead of {list(expected)}"
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), f"{where}: {actual!r} instead of {expected!r}"
        for index, pair in enumerate(zip(actual, expected, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=SCORE_TOLERANCE, rel=0), where
    else:
        assert actual == expected, where
