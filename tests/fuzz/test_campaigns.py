"""The campaigns, reduced: the same cases for the same seed, and no fault in the first of them."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest

from tests.fuzz.bundle_campaign import BundleCampaign, change
from tests.fuzz.call_campaign import SUBJECTS, CallCampaign
from tests.fuzz.campaign import FAULTS, Campaign
from tests.fuzz.mutations import mutate_graph, mutate_json
from tests.fuzz.run import CampaignRun
from tests.fuzz.texts import LONGEST, make_text
from tests.fuzz.tokenizer_campaign import FAMILIES, TokenizerCampaign
from tests.fuzz.worker import run_case
from tests.runtime.small_bundle import write_bundle

SEED = 17
KINDS: tuple[type[Campaign], ...] = (TokenizerCampaign, CallCampaign, BundleCampaign)


class FewCalls(CallCampaign):
    """Calls of few tasks, whose models are made in seconds."""

    subjects = {name: SUBJECTS[name] for name in ("text-classification", "fill-mask", "text-generation")}  # noqa: RUF012


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_cases(kind: type[Campaign]) -> None:
    one, again, other = ([repr(kind(seed).make(index)) for index in range(300)] for seed in (3, 3, 4))
    assert one == again
    assert sum(first == second for first, second in zip(one, other, strict=True)) < 5
    assert len(set(one)) > 290


def test_texts_have_what_nobody_writes() -> None:
    draw = random.Random(SEED)
    texts = [make_text(draw) for _ in range(20_000)]
    assert max(map(len, texts)) == LONGEST
    assert "" in texts
    characters = set("".join(texts))
    assert {"\x00", "\u200d", "\ufeff", "\u202e", "\u0301"} <= characters
    assert any("\ud800" <= each <= "\udfff" for each in characters)
    assert len(characters) > 30_000


def test_every_family_and_every_task_comes_up() -> None:
    families = {TokenizerCampaign(SEED).make(index).family for index in range(500)}
    assert families == set(FAMILIES)
    subjects = {CallCampaign(SEED).make(index).subject for index in range(500)}
    assert subjects == set(SUBJECTS)
    bases = {BundleCampaign(SEED).make(index).base for index in range(500)}
    assert bases == set(BundleCampaign.makers)


def test_the_same_case_changes_a_bundle_in_the_same_way(tmp_path: Path) -> None:
    campaign = BundleCampaign(SEED)
    changed = 0
    for index in range(40):
        case = campaign.make(index)
        contents = []
        for name in ("one", "other", "whole"):
            folder = write_bundle(tmp_path / f"{index} {name}")
            if name != "whole":
                change(folder, case)
            contents.append(
                {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*")
                 if path.is_file() and not path.is_symlink()}
            )  # fmt: skip
        assert contents[0] == contents[1], case
        changed += contents[0] != contents[2]
    assert changed > 30


def test_a_change_does_not_depend_on_those_before() -> None:
    content = json.dumps({"a": [1, 2, {"b": "c"}], "d": 1.5, "e": "f"}).encode()
    one = [mutate_json(content, random.Random(index)) for index in range(2000)]
    assert one == [mutate_json(content, random.Random(index)) for index in range(2000)]


def test_changes_of_files_are_of_many_kinds() -> None:
    draw = random.Random(SEED)
    content = json.dumps({"a": [1, 2, {"b": "c"}], "d": 1.5, "e": "f"}).encode()
    changed = {mutate_json(content, draw) for _ in range(400)}
    assert len(changed) > 250
    assert any(len(each) > 100_000 for each in changed)
    graph = b"\x08\x0a\x12\x04test"
    assert len({mutate_graph(graph, draw) for _ in range(200)}) > 100


@pytest.mark.parametrize(("campaign", "count"), [(TokenizerCampaign(SEED), 1000), (FewCalls(SEED), 300)])
def test_no_fault_beside_transformers(campaign: Campaign, count: int) -> None:
    outcomes = {index: run_case(campaign, index) for index in range(count)}
    assert not {index: outcome for index, outcome in outcomes.items() if outcome.kind in FAULTS}
    assert sum(outcome.kind == "equal" for outcome in outcomes.values()) > count / 2


def test_no_fault_with_bundles_that_were_changed(tmp_path: Path) -> None:
    tally = CampaignRun("bundles", SEED, 400, folder=tmp_path, out=io.StringIO()).run()
    assert not tally.faults, [path.read_text() for path in tally.files]
    assert tally.total == 400
    assert tally.sizes["refused"] > 100
