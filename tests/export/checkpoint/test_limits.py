from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgepipe_export.checkpoint.limits import find_limit
from tests.tiny import LIMIT, build


@pytest.mark.parametrize(
    ("architecture", "limit"),
    [("bert", LIMIT), ("roberta", LIMIT), ("mpnet", LIMIT), ("deberta-v3", None), ("modernbert", None)],
)
def test_the_limit_is_the_models_own(architecture: str, limit: int | None) -> None:
    model, _ = build(architecture)
    found = find_limit(model)
    assert found.tokens == limit
    assert "probed" in found.found
    assert model.config._attn_implementation == "eager"


def test_the_limit_of_a_decoder_that_reads_the_whole_input() -> None:
    model, _ = build("led", task="question-answering", max_decoder_position_embeddings=LIMIT // 2)
    assert find_limit(model).tokens == LIMIT // 2


def test_a_config_without_positions_has_no_limit() -> None:
    assert find_limit(SimpleNamespace(config=SimpleNamespace())).tokens is None  # type: ignore[arg-type]
