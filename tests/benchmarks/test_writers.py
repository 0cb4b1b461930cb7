"""Names that the tables of those who write share; and a contender that fails stops nobody."""

from __future__ import annotations

import pytest
from benchmarks.generation.generation_checkpoints import CONFIGS
from benchmarks.peers.sections import Contender
from benchmarks.peers.writing.__main__ import find_reason, keep_working
from benchmarks.peers.writing.writer_files import WORKERS
from benchmarks.peers.writing.writers import BANDWIDTH, FLOORS, MODELS, OURS, PAIRS, REFERENCE, WRITERS, choose

NAMES = [one.name for one in WRITERS]


def test_names_are_unique_and_known() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert REFERENCE in NAMES
    assert set(MODELS) <= set(CONFIGS)


def test_every_engine_is_a_program() -> None:
    assert all((WORKERS / one.engine).is_file() for one in WRITERS)


def test_pairs_compute_in_one_precision() -> None:
    precisions = {one.name: one.precision for one in WRITERS}
    assert set(PAIRS) == set(OURS)
    for ours, peers in PAIRS.items():
        assert peers
        assert {precisions[peer] for peer in peers} == {precisions[ours]}
        assert not {*peers} & {*OURS}


def test_floors_are_of_pairs() -> None:
    for floor in FLOORS:
        assert floor.peer == BANDWIDTH or floor.peer in PAIRS[floor.ours]
        assert {*floor.models} <= {*MODELS}


def test_the_largest_model_does_not_run_in_fp32() -> None:
    assert [one.name for one in choose("qwen2-0.5b", OURS)] == [name for name in OURS if "fp32" not in name]
    assert len(choose("gpt2", None)) == len(WRITERS)


def test_who_fails_is_left_out_with_the_reason() -> None:
    def attempt(one: Contender) -> None:
        if "llama" in one.name:
            raise SystemExit("failed:\nTraceback\n  its line\nValueError: no /home/somebody/gpt2/checkpoint here\n")

    left_out: dict[str, str] = {}
    working = keep_working(choose("gpt2", ["llama.cpp f32", "torch"]), left_out, attempt)
    assert [one.name for one in working] == ["torch fp32"]
    assert left_out == {"llama.cpp f32": "ValueError: no checkpoint here"}


@pytest.mark.parametrize("message", [pytest.param("it is not there", id="one"), pytest.param("a / b", id="slash")])
def test_a_reason_without_folders_stays(message: str) -> None:
    assert find_reason(message) == message
