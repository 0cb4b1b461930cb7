"""Tensor parity with PyTorch of the encoders beyond the ten that have golden files.

Each is exported with one of its heads, by turns; ``pytest -m coverage`` exports every architecture with every head, as
``python -m tests.tiny.coverage`` does for the documentation.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import HEADS, heads
from tests.tiny.parity import compare, export_tiny
from tests.tiny.table import ARCHITECTURES, MORE

EVERY = [(architecture, task) for architecture in ARCHITECTURES | MORE for task in heads(architecture)]

# Those people use most; the others differ from one of them in little.
COMMON = (
    "camembert",
    "deberta",
    "xlm",
    "xlnet",
    "convbert",
    "squeezebert",
    "nystromformer",
    "longformer",
    "big_bird",
    "ernie",
    "bart",
    "mbart",
    "t5",
    "gpt2",
    "llama",
    "qwen2",
)
BY_TURNS = [
    (architecture, own[number % len(own)])
    for number, architecture in enumerate(COMMON)
    for own in [heads(architecture)]
]


def check(architecture: str, task: str, folder: Path) -> None:
    outcome = compare(*export_tiny(architecture, task, folder))
    assert outcome.failures == ()
    assert outcome.compared >= 12


@pytest.mark.parametrize(("architecture", "task"), BY_TURNS)
def test_one_head(architecture: str, task: str, tmp_path: Path) -> None:
    check(architecture, task, tmp_path)


@pytest.mark.coverage
@pytest.mark.parametrize(("architecture", "task"), [pair for pair in EVERY if pair not in BY_TURNS])
def test_every_other_head(architecture: str, task: str, tmp_path: Path) -> None:
    check(architecture, task, tmp_path)


def test_every_head_is_among_those_tested() -> None:
    assert {task for _, task in BY_TURNS} == set(HEADS)
    assert len({architecture for architecture, _ in EVERY}) == len(ARCHITECTURES | MORE)
