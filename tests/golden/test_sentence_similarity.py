"""sentence-similarity beside the frozen answers of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepipe import pipeline
from edgepipe_export import export
from tests.golden.compare import assert_same
from tests.golden.make_similarity import INPUTS, MODELS, PATH, save_encoder
from tests.golden.suites import weights_digest

CONTENT = json.loads(PATH.read_text(encoding="utf-8"))


def test_the_golden_file_has_today_s_cases() -> None:
    assert CONTENT["inputs"] == INPUTS
    assert CONTENT["models"] == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_as_frozen(model: str, tmp_path: Path) -> None:
    encoder = save_encoder(tmp_path, model)
    assert weights_digest(encoder) == CONTENT["weights"][model], "other weights: make the golden file again"
    bundle = export(tmp_path / "encoder", tmp_path / "bundle", task="sentence-similarity", verify=False)
    for name, expected in CONTENT["results"][model].items():
        for batch_size in (1, 8):
            compare = pipeline("sentence-similarity", bundle, similarity=name, batch_size=batch_size, num_threads=1)
            assert_same(compare(INPUTS), expected, f"{name}, batches of {batch_size}")
