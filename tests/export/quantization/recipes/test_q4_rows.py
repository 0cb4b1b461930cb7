"""q4-rows beside q4: the same weights, with prompts in integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepipe.backend.machine import saturates
from edgepipe.errors import InputError
from edgepipe.models.decoder.causal import CausalGraph
from edgepipe_export import export
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.recipes.q4 import Q4Options
from edgepipe_export.quantization.target import Target
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import layered
from tests.tiny.generative import build_generative

DTYPES = ("q4", "q4-rows")


@pytest.mark.skipif(saturates(), reason="sums of 8-bit products overflow on this processor")
def test_prompts_are_near_to_those_of_q4(tmp_path: Path) -> None:
    model, tokenizer = build_generative("llama")
    bundle = export(
        model, tmp_path / "llama", tokenizer=tokenizer, task="text-generation", dtypes=("fp32", *DTYPES), verify=False
    )
    assert bundle.manifest is not None
    recipes = [dict(bundle.manifest.variants[dtype].recipe) for dtype in DTYPES]
    assert recipes[1] == {**recipes[0], "name": "q4-rows", "integer_products": True}
    ids = np.array([[5, 6, 7, 8, 9, 10, 11, 12]])
    plain, rows = (CausalGraph(bundle, dtype).scores(ids, np.ones_like(ids)) for dtype in DTYPES)
    assert np.abs(plain - rows).max() > 0
    assert np.corrcoef(plain.ravel(), rows.ravel())[0, 1] > 0.99


def test_products_in_fp32_are_refused(tmp_path: Path) -> None:
    save_graph(layered(), tmp_path / "source.onnx")
    with pytest.raises(InputError, match="prompts in integers take accuracy_level=4, got 1"):
        quantize(
            "q4-rows",
            tmp_path / "source.onnx",
            tmp_path / "model.onnx",
            Target("vnni"),
            options=Q4Options(accuracy_level=1),
        )
