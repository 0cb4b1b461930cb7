"""Buckets on a GPU: recorded, played again, by many callers, and equal to what runs without them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import numpy as np
import pytest

from edgepipe import Model
from edgepipe.backend.session import SessionConfig
from tests.conftest import Exported
from tests.gpu.driver import free_bytes
from tests.tiny.parity import feeds_for

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda")]

BUCKETS = [(1, 16), (1, 48), (4, 48)]
SHAPES = [(1, 5), (1, 16), (1, 30), (3, 17), (4, 48), (2, 48), (6, 9)]


@pytest.fixture(scope="module")
def models(tiny_export: Callable[..., Exported], cuda: str) -> tuple[Exported, Model, Model]:
    made = tiny_export("bert")
    plain, bucketed = (
        Model(made.bundle, "fp32", SessionConfig(device=cuda, buckets=buckets)) for buckets in ([], BUCKETS)
    )
    bucketed.warm_up()
    return made, plain, bucketed


def asked(made: Exported) -> list[dict[str, Any]]:
    return [feeds_for(made.model, made.tokenizer, *shape) for shape in SHAPES]


def test_recorded_runs_give_what_others_give(models: tuple[Exported, Model, Model]) -> None:
    made, plain, bucketed = models
    assert bucketed.session.captures
    assert not plain.session.captures
    assert bucketed._bucketed is not None
    for _ in range(3):
        for shape, feeds in zip(SHAPES, asked(made), strict=True):
            np.testing.assert_allclose(bucketed(**feeds)["logits"], plain(**feeds)["logits"], atol=1e-4)
            assert bucketed._bucketed.is_used(*shape) is (shape[0] <= 4)


def test_many_callers_of_one_model(models: tuple[Exported, Model, Model]) -> None:
    made, plain, bucketed = models
    every = 20 * asked(made)
    expected = [plain(**feeds)["logits"] for feeds in every]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(lambda feeds: bucketed(**feeds)["logits"], every), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_threads_that_come_and_go_leave_no_memory_behind(models: tuple[Exported, Model, Model]) -> None:
    made, _, bucketed = models
    [feeds, *_] = asked(made)

    def once() -> None:
        thread = Thread(target=lambda: bucketed(**feeds))
        thread.start()
        thread.join()

    for _ in range(20):
        once()
    before = free_bytes()
    for _ in range(200):
        once()
    assert before - free_bytes() <= 32 * 2**20
