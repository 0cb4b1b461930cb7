"""Tensor parity of a tiny encoder-decoder's two graphs with PyTorch: the source, the first step and those after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgepipe.backend.engines import create_session
from edgepipe.backend.session import Session
from edgepipe_export.checkpoint.architectures import find_architecture
from edgepipe_export.checkpoint.model_inputs import cache_name
from edgepipe_export.tracing.encoder_decoder import trace_seq2seq_decoder, trace_source_encoder
from edgepipe_export.tracing.serialization import save_graph
from tests.tiny.parity import ABSOLUTE, RELATIVE

LENGTHS = (1, 2, 13, 31)
# New tokens of each step, for each number of rows: the past grows from 0 to 9. Several tokens after others are for one
# row: the operator that appends to a buffer takes no more.
STEPS = {1: (1, 1, 1, 3, 1, 2, 1), 2: (3, 1, 1, 1, 1, 1, 1, 1), 3: (1,) * 9}

ENCODER, DECODER = "encoder_model.onnx", "decoder_model_merged.onnx"


@dataclass
class Differences:
    """What a comparison found.

    Attributes:
        compared: Number of tensors.
        largest: Largest absolute difference of any tensor.
        failures: What went wrong, in words.
    """

    compared: int = 0
    largest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, what: str, got: NDArray[Any], tensor: torch.Tensor) -> None:
        """Compare one tensor."""
        expected = tensor.detach().numpy()
        self.compared += 1
        if got.shape != expected.shape:
            self.failures.append(f"{what}: shape {got.shape} instead of {expected.shape}")
            return
        self.largest = max(self.largest, float(np.abs(got - expected).max()))
        if not np.allclose(got, expected, atol=ABSOLUTE, rtol=RELATIVE):
            self.failures.append(f"{what}: differs by {np.abs(got - expected).max():.2g}")


def trace_tiny(model: Any, folder: Path) -> None:
    """Trace both graphs into a folder."""
    save_graph(trace_source_encoder(model), folder / ENCODER)
    save_graph(trace_seq2seq_decoder(model), folder / DECODER)


def compare(model: Any, folder: Path) -> Differences:
    """Compare every output of both graphs with those of PyTorch's usual cached steps, for every batch and length."""
    encoder, decoder = create_session(folder / ENCODER), create_session(folder / DECODER)
    found = Differences()
    for batch in STEPS:
        for length in LENGTHS:
            with torch.no_grad():
                _compare_one(model, encoder, decoder, batch, length, found)
    return found


def source(model: Any, batch: int, length: int) -> dict[str, NDArray[np.int64]]:
    """Random ids and a mask, int64[batch, length]; each row after the first is two shorter than the one before it."""
    ids = ordinary(model, np.random.default_rng([batch, length]), (batch, length))
    mask = np.ones_like(ids)
    for row in range(1, batch):
        kept = max(1, length - 2 * row)
        mask[row, kept:] = 0
        ids[row, kept:] = model.config.pad_token_id
    return {"input_ids": ids, "attention_mask": mask}


def ordinary(model: Any, generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Random ids that are not special in any of the tiny tokenizers."""
    return generator.integers(5, model.config.vocab_size - 1, shape)


def _compare_one(model: Any, encoder: Session, decoder: Session, batch: int, length: int, found: Differences) -> None:
    feeds = source(model, batch, length)
    states = encoder.run({name: feeds[name] for name in encoder.inputs})["last_hidden_state"]
    mask = torch.from_numpy(feeds["attention_mask"])
    encoded = model.get_encoder()(torch.from_numpy(feeds["input_ids"]), attention_mask=mask, return_dict=True)
    found.add(f"last_hidden_state of batch {batch}, length {length}", states, encoded.last_hidden_state)
    past: Any = None
    fixed = {"encoder_attention_mask": feeds["attention_mask"], "encoder_hidden_states": states}
    cache = {
        name: np.zeros((batch, int(shape[1] or 0), 0, int(shape[3] or 0)), np.float32)
        for name, shape in decoder.input_shapes.items()
        if name.startswith("past_key_values.")
    }
    generator = np.random.default_rng(length)
    before = 0
    for new in STEPS[3] if find_architecture(model).decodes_single_tokens else STEPS[batch]:
        ids = ordinary(model, generator, (batch, new))
        got = decoder.run(fixed | cache | {"input_ids": ids, "use_cache_branch": np.array([before > 0])})
        logits = []
        for position in range(new):
            result = model(
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_input_ids=torch.from_numpy(ids[:, position : position + 1]),
                **{cache_name(model): past},
                use_cache=True,
            )
            past = getattr(result, cache_name(model))
            logits.append(result.logits)
        where = f"of batch {batch}, length {length}, past {before}"
        found.add(f"logits {where}", got["logits"], torch.cat(logits, 1))
        cached = {"decoder": past.self_attention_cache}
        if before == 0:  # the source's keys are given once; later others do not read them
            cached["encoder"] = past.cross_attention_cache
        for kind, layers in cached.items():
            for index, layer in enumerate(layers.layers):
                for name, tensor in (("key", layer.keys), ("value", layer.values)):
                    found.add(f"{kind} {index} {name} {where}", got[f"present.{index}.{kind}.{name}"], tensor)
        cache |= {
            name: got[name.replace("past_key_values", "present")]
            for name in cache
            if before == 0 or ".decoder." in name
        }
        before += new
