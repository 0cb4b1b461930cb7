"""Which decoder a bundle's graphs become."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.backend.session import SessionConfig
from edgepipe.errors import BundleError, InputError, VariantError
from edgepipe.models.decoder.causal import CausalGraph
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.decoder.seq2seq import EncoderDecoderGraphs
from tests.runtime.models.decoder.small_decoders import causal_bundle, seq2seq_bundle


def test_the_config_says_whether_there_is_an_encoder(tmp_path: Path) -> None:
    assert type(load_decoder(causal_bundle(tmp_path / "decoder"))) is CausalGraph
    assert type(load_decoder(seq2seq_bundle(tmp_path / "both"))) is EncoderDecoderGraphs


def test_shapes_to_pad_to_are_for_models_that_read(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path)
    with pytest.raises(InputError, match=r"buckets=\[\(1, 8\)\] are for models that read; .* writes"):
        load_decoder(bundle, session=SessionConfig(buckets=[(1, 8)]))
    assert load_decoder(bundle, session=SessionConfig(num_threads=1)).dtype == "fp32"


def test_a_variant_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VariantError, match=r"cannot give dtype 'int8'.*there is fp32"):
        load_decoder(causal_bundle(tmp_path), "int8")


def test_a_graph_that_is_not_there(tmp_path: Path) -> None:
    bundle = seq2seq_bundle(tmp_path)
    (tmp_path / "onnx" / "encoder_model.onnx").unlink()
    with pytest.raises(BundleError, match=r"has no encoder_model\.onnx for fp32, only decoder_model_merged\.onnx"):
        load_decoder(bundle)
