"""Decoder-only models: what is traced, in PyTorch, and the graph that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir
import pytest
import torch

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.bundle.layout import LOGITS_TO_KEEP, PAST_SEQUENCE_LENGTH, PAST_WINDOW_LENGTH
from edgepipe_export.tracing.decoder import CausalDecoder, last_positions, sample_inputs, takes_position_ids
from edgepipe_export.tracing.kv_cache.cached_attention import CONCATENATED, NO_CACHE
from tests.tiny.generative import WINDOW, build_generative

FAMILIES = ("gpt2", "llama", "gemma2", "bloom")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_after_others_gives_what_the_whole_text_gives(family: str) -> None:
    model, _ = build_generative(family)
    decoder = CausalDecoder(model, CONCATENATED)
    ids = torch.randint(5, model.config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if takes_position_ids(model) else {}
    past = [
        {name: tensor[:, :, :0] for name, tensor in layer.items()} for layer in sample_inputs(model)["past_key_values"]
    ]
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, **positions, use_cache=False).logits
        for start, end, keep in ((0, 6, 0), (6, 7, 1), (7, 9, 1)):
            own = {name: value[:, start:end] for name, value in positions.items()}
            found = decoder(ids[:, start:end], mask[:, :end], past, torch.tensor(keep), **own)
            past = found["present"]
            kept = slice(end - keep if keep else start, end)
            own_tokens = mask[:, kept].bool()  # what padding gives nobody reads
            assert found["logits"].shape[1] == kept.stop - kept.start
            wanted = expected[:, kept][own_tokens]
            torch.testing.assert_close(found["logits"][own_tokens], wanted, rtol=1e-4, atol=1e-4)
    assert {tensor.shape[2] for layer in past for tensor in layer.values()} == {9}


@pytest.mark.parametrize(
    ("new", "keep", "expected"), [(5, 0, [0, 1, 2, 3, 4]), (5, 1, [4]), (5, 3, [2, 3, 4]), (1, 0, [0]), (1, 1, [0])]
)
def test_the_last_positions(new: int, keep: int, expected: list[int]) -> None:
    assert last_positions(new, torch.tensor(keep)).tolist() == expected


@pytest.mark.parametrize(("family", "takes"), [("gpt2", True), ("llama", True), ("bloom", False)])
def test_positions_are_given_to_models_that_take_them(family: str, takes: bool) -> None:
    model, _ = build_generative(family)
    assert takes_position_ids(model) is takes
    assert ("position_ids" in sample_inputs(model)) is takes


def test_no_two_sizes_of_the_sample_are_alike() -> None:
    """The tracer takes equal sizes for one, and a size of 1 for a constant."""
    model, _ = build_generative("gpt2")
    sample = sample_inputs(model)
    rows, new = sample["input_ids"].shape
    past = sample["past_key_values"][0]["key"].shape[2]
    assert sample["attention_mask"].shape == (rows, past + new)
    assert len({1, rows, new, past, past + new}) == 5
    assert len(sample["past_key_values"]) == model.config.num_hidden_layers
    assert sample["position_ids"].shape == (rows, new)


def test_a_model_without_a_cache_has_no_past() -> None:
    model, _ = build_generative("openai-gpt")
    sample = sample_inputs(model)
    assert sample["past_key_values"] == []
    assert sample["attention_mask"].shape == sample["input_ids"].shape
    with torch.no_grad():
        found = CausalDecoder(model, NO_CACHE)(**sample)
    assert list(found) == ["logits"]


def test_inputs_and_outputs_of_the_graph(writer: Callable[[str], tuple[Any, Any, Bundle]]) -> None:
    _, _, bundle = writer("gpt2")
    graph = onnx_ir.load(bundle.graph("fp32")).graph
    session = create_session(bundle.graph("fp32"))
    past = [f"past_key_values.{layer}.{kind}" for layer in range(2) for kind in ("key", "value")]
    assert set(session.inputs) == {"input_ids", "attention_mask", "position_ids", *past}
    assert session.optional_inputs == {LOGITS_TO_KEEP: "int64"}
    assert session.outputs == ("logits", *(name.replace("past_key_values", "present") for name in past))
    assert session.input_shapes["input_ids"] == ["batch_size", "sequence_length"]
    assert session.input_shapes["attention_mask"] == ["batch_size", "total_sequence_length"]
    assert session.input_shapes[past[0]] == ["batch_size", 4, "past_sequence_length", 8]
    assert sum(node.op_type == "GroupQueryAttention" for node in graph) == 2


def test_layers_with_a_window_read_the_last_keys_alone(writer: Callable[[str], tuple[Any, Any, Bundle]]) -> None:
    _, _, bundle = writer("gemma2")
    assert bundle.attention_window("fp32") == WINDOW
    session = create_session(bundle.graph("fp32"))
    assert session.optional_inputs == {LOGITS_TO_KEEP: "int64", PAST_WINDOW_LENGTH: "int64"}
    names = [f"past_key_values.{layer}.{kind}" for layer in range(2) for kind in ("key", "value")]
    assert [session.input_shapes[name][2] for name in names] == [PAST_WINDOW_LENGTH] * 2 + [PAST_SEQUENCE_LENGTH] * 2
    ids = np.random.default_rng(0).integers(5, 200, (2, 20))
    mask = np.ones_like(ids)
    mask[1, :3] = 0
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    empty = {name: np.zeros((2, 2, 0, 8), np.float32) for name in names}
    prompt = {"input_ids": ids[:, :19], "attention_mask": mask[:, :19], "position_ids": positions[:, :19]}
    present = session.run(prompt | empty)
    past = {name: present[name.replace("past_key_values", "present")] for name in names}
    step = {"input_ids": ids[:, 19:], "attention_mask": mask, "position_ids": positions[:, 19:]}
    whole = session.run(step | past)
    held = WINDOW - 1
    last = {name: past[name][:, :, -held:] if name in names[:2] else past[name] for name in names}
    for length in ({PAST_WINDOW_LENGTH: np.array([held])}, {}):  # without it, the past has a length
        found = session.run(step | last | length)
        np.testing.assert_allclose(found["logits"], whole["logits"], rtol=1e-5, atol=1e-5)
        assert [found[name.replace("past_key_values", "present")].shape[2] for name in names] == [WINDOW] * 2 + [20] * 2
