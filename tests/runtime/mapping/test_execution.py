"""How rows go through: batches only where they change nothing, and the way that is faster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.backend.threads import available_threads
from edgepipe.errors import ClosedError
from edgepipe.mapping.batch_mapper import choose_embedding
from edgepipe.mapping.execution import (
    CPU_BATCH,
    WRITTEN_BATCH,
    Execution,
    choose_execution,
    find_batch_size,
    load_side_by_side,
)
from tests.runtime.tiny_bundles import make_variants

TEXTS = ["a text", "a longer text than the one before it", "bad"] * 8


def test_batches_are_for_those_whose_results_they_do_not_change(
    tiny_bundles: Mapping[str, Path], tmp_path: Path
) -> None:
    bundle = make_variants(tmp_path / "bundle", ("fp32", "int8"))
    found = {}
    for dtype in ("fp32", "int8"):
        with pipeline(model=bundle, dtype=dtype, verify="never") as task:
            found[dtype] = find_batch_size(task)
    for name in ("stories", "hidden"):
        with pipeline(model=tiny_bundles[name]) as task:
            found[name] = find_batch_size(task)
    with pipeline("feature-extraction", tiny_bundles["sentences"]) as task:
        found["vectors"] = find_batch_size(task, choose_embedding(task, {}))
    assert found == {
        "fp32": CPU_BATCH, "int8": 1, "stories": WRITTEN_BATCH, "hidden": 1, "vectors": CPU_BATCH
    }  # fmt: skip


@pytest.mark.skipif(available_threads() < 2, reason="one processor: nothing runs side by side")
def test_who_chose_threads_has_chosen(small: Path) -> None:
    with pipeline(model=small) as task:
        other = load_side_by_side(task, {}, {})
        assert other is not None
        assert other.model.workers == available_threads()
        other.close()
        for session in ({"num_threads": 1}, {"workers": 1}):
            assert load_side_by_side(task, {}, session) is None


@pytest.mark.parametrize("batch_size", [None, 3])
def test_one_of_the_two_is_chosen_and_the_other_closed(small: Path, batch_size: int | None) -> None:
    task = pipeline(model=small)
    other: Any = pipeline(model=small, workers=2, num_threads=1)
    execution, chosen = choose_execution(task, other, TEXTS, batch_size=batch_size)
    assert chosen in (task, other)
    assert bool(execution.session) is (chosen is other)
    assert execution.batch_size in ({1, CPU_BATCH} if batch_size is None else {3})
    with pytest.raises(ClosedError):
        (task if chosen is other else other)("text")
    assert chosen("good")
    chosen.close()


def test_what_is_chosen_in_words() -> None:
    assert Execution(1, {}).describe() == "one text at a time"
    assert Execution(8, {"workers": 4}, 2).describe() == "batches of up to 8, 4 side by side, in 2 processes"
