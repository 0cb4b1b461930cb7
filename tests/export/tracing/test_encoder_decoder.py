"""Graphs of encoder-decoders against PyTorch, tensor by tensor.

``pytest -m coverage`` traces every family.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir
import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import SOURCE_BATCH_SIZE
from tests.tiny.generative import ENCODER_DECODERS, build_generative
from tests.tiny.seq2seq import DECODER, ENCODER, compare, trace_tiny

FLOAT = onnx_ir.DataType.FLOAT

# One with positions of its own and one with biases; their generation is compared too, in test_generation.py.
COMMON = ("bart", "t5")

# T5 does not scale its scores: with the usual weights rounding grows to the bound in a random network, with these it is
# a half of it.
GENTLE = {"t5": 2.0}


def check(model: Any, folder: Path) -> None:
    found = compare(model, folder)
    assert found.failures == []
    assert found.compared > 500


@pytest.mark.parametrize("family", COMMON)
def test_graphs_equal_pytorch_at_every_step(
    family: str, writer: Callable[[str], tuple[Any, Any, Bundle]], tmp_path: Path
) -> None:
    model, _, bundle = writer(family)
    folder = bundle.path / "onnx"
    if family in GENTLE:
        gentle, _ = build_generative(family, gain=GENTLE[family])
        trace_tiny(gentle, tmp_path)
        check(gentle, tmp_path)
    else:
        check(model, folder)
    decoder = onnx_ir.load(folder / DECODER)
    assert not any(node.op_type == "If" for node in decoder.graph.all_nodes())
    parameters = {id(parameter): parameter for parameter in model.parameters()}.values()
    both = sum((folder / f"{name}_data").stat().st_size for name in (ENCODER, DECODER))
    embeddings = model.get_input_embeddings().weight.nbytes  # which both need
    # Every weight is stored once, in one of them; to the page.
    assert both < sum(parameter.nbytes for parameter in parameters) + embeddings + 100_000
    assert decoder.graph.inputs[0].shape == onnx_ir.Shape(["batch_size", "sequence_length"])
    shapes = {value.name: value.shape for value in decoder.graph.inputs}
    assert shapes["encoder_hidden_states"] == onnx_ir.Shape([SOURCE_BATCH_SIZE, "encoder_sequence_length", 32])
    past = ["batch_size", 4, "past_sequence_length", 8]
    assert shapes["past_key_values.1.decoder.value"] == onnx_ir.Shape(past)
    assert shapes["past_key_values.0.encoder.key"] == onnx_ir.Shape(
        [SOURCE_BATCH_SIZE, 4, "past_encoder_sequence_length", 8]
    )


@pytest.mark.coverage
@pytest.mark.parametrize("family", [family for family in ENCODER_DECODERS if family not in COMMON])
def test_graphs_of_every_other_family(family: str, tmp_path: Path) -> None:
    # Gentle weights: what is to show is another formula, not what rounding grows to in a random network.
    model, _ = build_generative(family, gain=1.0)
    trace_tiny(model, tmp_path)
    check(model, tmp_path)
