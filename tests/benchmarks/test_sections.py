"""Names that the sections and the engines share."""

from __future__ import annotations

import pytest
from benchmarks.peers.engines import ENGINES
from benchmarks.peers.files import missing
from benchmarks.peers.sections import CLASSIFICATION, NODE, SENTENCES, Section

SECTIONS = pytest.mark.parametrize("section", [CLASSIFICATION, SENTENCES], ids=lambda section: section.task)


@SECTIONS
def test_every_name_of_a_pair_is_a_contender(section: Section) -> None:
    names = [one.name for one in section.contenders]
    assert len(names) == len(set(names))
    assert {section.reference, *section.pairs, *(peer for peers in section.pairs.values() for peer in peers)} <= {
        *names
    }


@SECTIONS
def test_pairs_compute_in_one_precision(section: Section) -> None:
    precisions = {one.name: one.precision for one in section.contenders}
    for ours, peers in section.pairs.items():
        assert {precisions[peer] for peer in peers} == {precisions[ours]}


@SECTIONS
def test_every_engine_is_there(section: Section) -> None:
    for one in section.contenders:
        assert (one.engine in ENGINES) == (one.environment != NODE)


def test_without_node_its_contenders_are_missing_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    left_out = [one.name for one in CLASSIFICATION.contenders if "Node" in missing(one)]
    assert left_out == ["transformers.js fp32", "transformers.js int8"]
