"""Diverse beam search against what transformers gave while it had it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from tests.runtime.generation.make_groups import GOLDEN
from tests.runtime.generation.models import batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder

CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=[f"{case['architecture']}-{case['seed']}" for case in CASES])
def test_groups_of_beams_find_what_they_found_in_transformers(case: dict[str, Any]) -> None:
    decoder = TorchDecoder(model(case["architecture"]))
    config = generation_config(decoder, {}, case["options"])
    found = generate(decoder, *batch(case["architecture"], tuple(case["lengths"]), case["seed"]), config)
    beams = [beam for row in found for beam in row]
    for beam, sequence, score in zip(beams, case["sequences"], case["scores"], strict=True):
        # The reference pads, and fills up where one sequence is longer than another.
        assert beam.token_ids == sequence[: len(beam.token_ids)]
        assert set(sequence[len(beam.token_ids) :]) <= {config.pad_token_id}
        assert beam.score == pytest.approx(score, abs=1e-4)
