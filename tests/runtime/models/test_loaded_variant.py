"""What every loaded variant tells of itself, and how it ends."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from edgepipe import Bundle, Model
from edgepipe.backend.device import DeviceSpec
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import ClosedError
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.loaded_variant import LoadedVariant
from tests.conftest import REPOSITORY
from tests.runtime.small_bundle import write_bundle

WRITERS = REPOSITORY / "tests" / "data" / "foreign_writers"
IDS = np.array([[2, 5, 3]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("variant"), ("fp32", "int8"))


def test_where_a_model_runs(folder: Path) -> None:
    model = Model.from_pretrained(folder, "int8", num_threads=2)
    assert (model.device, model.on_cpu, model.num_threads) == (DeviceSpec("cpu"), True, 2)
    assert repr(model) == f"Model({str(folder)!r}, dtype='int8', device='cpu', num_threads=2)"
    assert model.config.id2label == {0: "bad", 1: "fair", 2: "good"}


def test_threads_that_the_session_was_given(folder: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    assert Model.from_pretrained(folder, session_options=options).num_threads == 1


def test_a_closed_model_gives_its_memory_back(folder: Path) -> None:
    model = Model.from_pretrained(folder, buckets=[(1, 8)])
    model.warm_up()
    session = weakref.ref(model.session._session)  # type: ignore[attr-defined]
    model.close()
    assert session() is None
    model.close()
    assert repr(model).endswith(", closed)")
    with pytest.raises(ClosedError, match=r"model\.onnx was closed, by close\(\) or at the end of a with block"):
        model(input_ids=IDS)
    with pytest.raises(ClosedError):
        model.warm_up()


def test_a_block_closes_its_model(folder: Path) -> None:
    with Model.from_pretrained(folder) as model:
        assert model(input_ids=IDS)["logits"].shape == (1, 3)
    with pytest.raises(ClosedError):
        model(input_ids=IDS)


@pytest.mark.parametrize("kept", ["decoder", "merged"])
def test_decoders_close_too(kept: str) -> None:
    with load_decoder(Bundle.load(WRITERS / kept), session=SessionConfig(num_threads=1)) as decoder:
        assert isinstance(decoder, LoadedVariant)
        assert repr(decoder).endswith("dtype='fp32', device='cpu', num_threads=1)")
        decoder.begin(IDS, np.ones_like(IDS)).step(IDS[:, :1])
    with pytest.raises(ClosedError, match=r"\.onnx was closed"):
        decoder.begin(IDS, np.ones_like(IDS))
