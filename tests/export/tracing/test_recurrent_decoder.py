"""XLNet as a decoder: what is traced, in PyTorch, beside the steps of ``generate``; and the graph that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe_export.checkpoint.architectures import patch_model
from edgepipe_export.tracing.recurrent_decoder import RecurrentDecoder, sample_inputs
from tests.tiny.generation import generate_step
from tests.tiny.generative import build_generative

CONFIGS: list[dict[str, Any]] = [
    {"mem_len": None},
    {"mem_len": 6},
    {"mem_len": 2},
    {"mem_len": 6, "reuse_len": 3, "same_length": True, "clamp_len": 4},
    {"use_mems_eval": False},
]


def cut(states: torch.Tensor, before: int, config: Any) -> torch.Tensor:
    """What is kept of states, [batch, 1, all, width], the first of which were there before."""
    reused = states[:, :, : before + config.reuse_len if config.reuse_len else None]
    return reused[:, :, -config.mem_len if config.mem_len else 0 :][:, :, :-2]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_steps_are_those_of_generate(config: dict[str, Any]) -> None:
    model, _ = build_generative("xlnet", **config)
    decoder = RecurrentDecoder(model)
    written = torch.arange(5, 13).reshape(2, 4)
    past: Any = None
    own = [{"mems": layer["mems"][:, :, :0]} for layer in sample_inputs(model)["past_key_values"]]
    fed = written
    for step in range(6):
        expected, past = generate_step(model, written.numpy(), past)
        with torch.no_grad(), patch_model(model):
            found = decoder(fed, own)
        torch.testing.assert_close(found["logits"][:, -1], torch.from_numpy(expected))
        before = own[0]["mems"].shape[2] if own else 0
        own = [{"mems": cut(layer["mems"], before, model.config)} for layer in found.get("present", [])]
        written = torch.cat([written, torch.full((2, 1), 20 + step)], dim=1)
        fed = written[:, -2:] if own else written


def test_no_two_sizes_of_the_sample_are_alike() -> None:
    """The tracer takes equal sizes for one, and a size of 1 for a constant."""
    model, _ = build_generative("xlnet")
    sample = sample_inputs(model)
    rows, new = sample["input_ids"].shape
    past = sample["past_key_values"][0]["mems"].shape[2]
    assert len({1, rows, new, new + 1, past, past + new, past + new + 1}) == 7
    assert len(sample["past_key_values"]) == model.config.num_hidden_layers
    assert sample_inputs(build_generative("xlnet", use_mems_eval=False)[0])["past_key_values"] == []


def test_inputs_and_outputs_of_the_graph(writer: Callable[[str], tuple[Any, Any, Bundle]]) -> None:
    _, _, bundle = writer("xlnet")
    session = create_session(bundle.graph("fp32"))
    past = [f"past_key_values.{layer}.mems" for layer in range(2)]
    assert set(session.inputs) == {"input_ids", *past}
    assert session.outputs == ("logits", "present.0.mems", "present.1.mems")
    assert session.input_shapes["input_ids"] == ["batch_size", "sequence_length"]
    assert session.input_shapes[past[0]] == ["batch_size", 1, "past_sequence_length", 32]
    assert session.output_shapes["present.0.mems"] == ["batch_size", 1, "kept_sequence_length", 32]
    assert not bundle.shares_cache("fp32")
