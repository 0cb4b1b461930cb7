"""A source of one row for all rows of the target, in a decoder's graph and in beam search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.backend.session import Session
from edgepipe.bundle.layout import SOURCE_BATCH_SIZE
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.decoder.seq2seq import EncoderDecoderGraphs
from tests.tiny.parity import ABSOLUTE, RELATIVE
from tests.tiny.seq2seq import DECODER

Feeds = dict[str, NDArray[Any]]

FAMILIES = ("bart", "t5")
ROWS, SOURCE, PAST = 3, 5, 2


def feeds(decoder: Session, source_rows: int, *, first: bool) -> Feeds:
    """Inputs of a step with several rows of the target, and of the source one row, or the same as often."""
    numbers = np.random.default_rng(0)
    lengths = {
        "past_sequence_length": 0 if first else PAST,
        "past_encoder_sequence_length": 0 if first else SOURCE,
        "encoder_sequence_length": SOURCE,
        "sequence_length": 1,
    }
    given: Feeds = {}
    for name, declared in decoder.input_shapes.items():
        rest = [size if isinstance(size, int) else lengths.get(str(size)) for size in declared[1:]]
        if name == "input_ids":
            given[name] = numbers.integers(5, 40, (ROWS, 1))
        elif name == "encoder_attention_mask":
            given[name] = np.repeat([[1] * (SOURCE - 2) + [0] * 2], source_rows, axis=0)
        elif name == "use_cache_branch":
            given[name] = np.array([not first])
        elif declared[0] == SOURCE_BATCH_SIZE:
            given[name] = numbers.normal(size=(1, *rest)).astype(np.float32).repeat(source_rows, axis=0)
        else:
            given[name] = numbers.normal(size=(ROWS, *rest)).astype(np.float32)
    return given


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_row_of_the_source_is_as_good_as_its_copies(
    family: str, first: bool, writer: Callable[[str], tuple[Any, Any, Bundle]]
) -> None:
    decoder = create_session(writer(family)[2].path / "onnx" / DECODER)
    one = decoder.run(feeds(decoder, 1, first=first))
    copies = decoder.run(feeds(decoder, ROWS, first=first))
    assert one["logits"].shape[0] == ROWS
    for name, expected in copies.items():
        got = np.broadcast_to(one[name], expected.shape) if ".encoder." in name else one[name]
        np.testing.assert_allclose(got, expected, rtol=RELATIVE, atol=ABSOLUTE, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_declared_shape_holds_with_a_source_of_one_row(
    family: str, writer: Callable[[str], tuple[Any, Any, Bundle]], tmp_path: Path
) -> None:
    # onnxruntime plans its memory by the names in them.
    path = writer(family)[2].path / "onnx" / DECODER
    given = feeds(create_session(path), 1, first=False)
    model = onnx.load(path)
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(value for value in model.graph.value_info if value.name not in known)
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
    onnx.save(model, tmp_path / "every.onnx", save_as_external_data=True)
    names = {"batch_size": ROWS, SOURCE_BATCH_SIZE: 1}
    checked = {name: 0 for name in names}
    for name, value in create_session(tmp_path / "every.onnx").run(given).items():
        for size, declared in zip(value.shape, shapes[name], strict=True):
            if declared in names:
                assert size == names[declared], (name, shapes[name], value.shape)
                checked[declared] += 1
    assert min(checked.values()) > 5


@pytest.mark.parametrize("inputs", [1, 2])
def test_beams_of_one_input_share_its_source(
    inputs: int, writer: Callable[[str], tuple[Any, Any, Bundle]], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = load_decoder(writer("bart")[2])
    assert isinstance(decoder, EncoderDecoderGraphs)
    rows = []
    begin = decoder.begin

    def watched(*given: Any) -> Any:
        decoding = begin(*given)
        run = decoding._run
        monkeypatch.setattr(
            decoding, "_run", lambda *args, **more: (rows.append(source_rows(decoding)), run(*args, **more))[1]
        )
        return decoding

    monkeypatch.setattr(decoder, "begin", watched)
    config = generation_config(decoder, {}, {"num_beams": 4, "max_new_tokens": 6, "min_new_tokens": 6})
    ids = np.random.default_rng(0).integers(5, 40, (inputs, 7))
    generate(decoder, ids, np.ones_like(ids), config)
    assert rows == [inputs] + [1 if inputs == 1 else 4 * inputs] * 5


def source_rows(decoding: Any) -> int:
    """How many rows all that is read of the source has."""
    (rows,) = {value.shape[0] for value in decoding._fixed.values()}
    return int(rows)
