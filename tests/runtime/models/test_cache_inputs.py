"""What a token takes in the cache, by the graph's file: what the loaded graph's cache takes of it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import PAST_WINDOW_LENGTH
from edgepipe.models.cache_inputs import CachedTokenBytes, read_token_bytes
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.kv_memory import count_token_bytes
from tests.runtime.models.decoder.small_decoders import VOCABULARY, causal_bundle, seq2seq_bundle
from tests.runtime.small_bundle import write_bundle


def test_a_decoder_s_tokens(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path, shared=True)
    assert read_token_bytes(bundle, "fp32") == CachedTokenBytes(2 * VOCABULARY * 4)
    assert count_token_bytes(load_decoder(bundle)._layers) == 2 * VOCABULARY * 4


def test_an_encoder_decoder_keeps_its_source_too(tmp_path: Path) -> None:
    bundle = seq2seq_bundle(tmp_path, shared=True)
    assert read_token_bytes(bundle, "fp32") == CachedTokenBytes(VOCABULARY * 4, VOCABULARY * 4)
    decoder = load_decoder(bundle)
    assert count_token_bytes(decoder._layers) == VOCABULARY * 4
    # Two inputs with three beams, 7 tokens of the source and 5 that are written.
    assert decoder.count_cache_bytes(2, 3, 7, 5) == 6 * (7 + 5) * VOCABULARY * 4


@pytest.mark.filterwarnings("ignore:.* has no cache inputs")
def test_without_a_cache_there_is_nothing(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path / "decoder", cache=False)
    assert read_token_bytes(bundle, "fp32") is None
    assert load_decoder(bundle).count_cache_bytes(2, 3, 7, 9) == 0
    assert read_token_bytes(Bundle.load(write_bundle(tmp_path / "encoder")), "fp32") is None


def test_a_graph_that_cannot_be_read(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path)
    graph = next((tmp_path / "onnx").iterdir())
    graph.write_bytes(graph.read_bytes()[:-40])
    assert read_token_bytes(bundle, "fp32") is None


def test_what_layers_with_a_window_take_is_told_apart(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path)
    graph = next((tmp_path / "onnx").iterdir())
    model = onnx.load(graph)
    key = next(value for value in model.graph.input if value.name == "past_key_values.0.key")
    key.type.tensor_type.shape.dim[2].dim_param = PAST_WINDOW_LENGTH
    onnx.save(model, graph)
    found = read_token_bytes(bundle, "fp32")
    assert found == CachedTokenBytes(2 * VOCABULARY * 4, 0, VOCABULARY * 4)


def test_sizes_that_are_not_declared(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path)
    graph = next((tmp_path / "onnx").iterdir())
    model = onnx.load(graph)
    key = next(value for value in model.graph.input if value.name == "past_key_values.0.key")
    key.type.tensor_type.shape.dim[3].Clear()
    onnx.save(model, graph)
    assert read_token_bytes(bundle, "fp32") is None
