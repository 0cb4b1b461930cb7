"""Encoder-decoders with past and present in one buffer, and with a past that grows, as other runtimes feed it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.ort_device import HOST
from edgepipe.backend.session import Session
from edgepipe.bundle.layout import DECODER, PAST_SEQUENCE_LENGTH, present_name
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import GeneratedSequence, generate
from edgepipe.models.decoder.seq2seq import EncoderDecoderGraphs
from tests.tiny.generation import SEARCHES, TEXTS

# One with positions of its own and one with biases.
FAMILIES = ("bart", "t5")
# New tokens of each step; several after others are for one row.
STEPS = {1: (1, 2, 1, 3, 1), 3: (2, 1, 1, 1, 1)}
ROOM = 12


def fixed(decoder: Session, rows: int) -> dict[str, NDArray[Any]]:
    """A source of 7 tokens, the last two of the last row padding, and no cache."""
    width = decoder.input_shapes["encoder_hidden_states"][2]
    mask = np.ones((rows, 7), np.int64)
    mask[-1, 5:] = 0
    cache = {name: empty(shape, rows) for name, shape in decoder.input_shapes.items() if name.startswith("past_key")}
    states = np.random.default_rng(1).normal(size=(rows, 7, width)).astype(np.float32)
    return {"encoder_attention_mask": mask, "encoder_hidden_states": states, **cache}


def empty(shape: list[int | str | None], rows: int) -> NDArray[np.float32]:
    return np.empty((rows, int(shape[1] or 0), 0, int(shape[3] or 0)), np.float32)


def growing(decoder: Session, ids: list[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
    """The scores of each step, the past being what the last gave."""
    feeds, found = fixed(decoder, len(ids[0])), []
    past = [name for name in feeds if name.startswith("past_key")]
    for index, new in enumerate(ids):
        got = decoder.run({**feeds, "input_ids": new, "use_cache_branch": np.array([index > 0])})
        found.append(got["logits"])
        feeds |= {name: got[present_name(name)] for name in past if index == 0 or ".decoder." in name}
    return found


def buffered(decoder: Session, ids: list[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
    """The same with buffers that have room for more, filled with what is no number."""
    feeds, found, before = fixed(decoder, len(ids[0])), [], 0
    own = {
        name: np.full((*each.shape[:2], ROOM, each.shape[3]), np.nan, np.float32)
        for name, each in feeds.items()
        if ".decoder." in name
    }
    for new in ids:
        binding = decoder.bind()
        now = {
            **feeds,
            "input_ids": new,
            "use_cache_branch": np.array([before > 0]),
            PAST_SEQUENCE_LENGTH: np.array([before]),
        }
        for name, array in (now | own).items():
            value = HOST.wrap(array)
            binding.bind_input(name, value)
            if name in own:
                binding.bind_output(present_name(name), value)
        binding.bind_output("logits")
        for name in feeds:
            if ".encoder." in name and before == 0:
                binding.bind_output(present_name(name))
        got = binding.run()
        found.append(got["logits"].numpy())
        feeds |= {name: got[present_name(name)].numpy() for name in feeds if present_name(name) in got}
        before += new.shape[1]
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", STEPS)
def test_a_buffer_gives_what_a_growing_past_gives(
    rows: int, family: str, writer: Callable[[str], tuple[Any, Any, Bundle]]
) -> None:
    model, _, bundle = writer(family)
    decoder = create_session(bundle.graph("fp32", DECODER))
    assert decoder.optional_inputs == {PAST_SEQUENCE_LENGTH: "int64"}
    generator = np.random.default_rng(rows)
    ids = [generator.integers(5, model.config.vocab_size, (rows, new)) for new in STEPS[rows]]
    for one, other in zip(growing(decoder, ids), buffered(decoder, ids), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def written(decoder: EncoderDecoderGraphs, tokenizer: Any, options: Mapping[str, Any]) -> list[list[GeneratedSequence]]:
    encoded = tokenizer(list(TEXTS), return_tensors="np", padding=True)
    ids, mask = (encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask"))
    return generate(decoder, ids, mask, generation_config(decoder, {}, options))


def without_the_input(bundle: Bundle, folder: Path) -> Bundle:
    """A bundle as it was before there was the input, or as another tool would make it: without our manifest, too."""
    copy = shutil.copytree(bundle.path, folder / "before")
    (copy / "edgepipe.json").unlink()
    path = copy / "onnx" / "decoder_model_merged.onnx"
    model = onnx.load(path, load_external_data=False)
    (place,) = (index for index, value in enumerate(model.graph.input) if value.name == PAST_SEQUENCE_LENGTH)
    del model.graph.input[place]
    onnx.save(model, path)
    return Bundle.load(copy)


@pytest.mark.parametrize("family", FAMILIES)
def test_bundles_that_share_and_that_do_not_write_the_same(
    family: str, writer: Callable[[str], tuple[Any, Any, Bundle]], tmp_path: Path
) -> None:
    _, tokenizer, bundle = writer(family)
    sharing, swapping = EncoderDecoderGraphs(bundle), EncoderDecoderGraphs(bundle)
    assert sharing.shares
    swapping.shares = False
    older = EncoderDecoderGraphs(without_the_input(bundle, tmp_path))
    assert not older.shares
    assert not older.session.optional_inputs
    for options in SEARCHES.values():
        expected = written(sharing, tokenizer, options)
        assert written(swapping, tokenizer, options) == expected
        assert written(older, tokenizer, options) == expected
