"""The table of engines: an engine is one entry, and its devices are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from edgepipe import Bundle, Model
from edgepipe.backend.engines import DEFAULT, ENGINES, engine_for
from edgepipe.backend.session import DeviceProfile, Engine, SessionConfig
from edgepipe.errors import BundleError, DeviceError, InputError
from edgepipe.models.variants import choose_variant, preferred_variants
from tests.runtime.small_bundle import write_bundle


@pytest.fixture
def dummy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An engine for `device="dummy"` that runs on onnxruntime and prefers int8; what it was called for."""
    calls: list[str] = []
    default = ENGINES[DEFAULT]()

    def create_session(graph: Path, config: SessionConfig, **options: Any) -> Any:
        calls.append(graph.name)
        return default.create_session(graph, SessionConfig(), **options)

    def device_profile(config: SessionConfig) -> DeviceProfile:
        return DeviceProfile(name="dummy", preferred_variants=("int8", "fp32"), unsupported_variants=("fp16",))

    engine = Engine(create_session, lambda config: None, device_profile)
    monkeypatch.setitem(ENGINES, "dummy", lambda: engine)
    return calls


@pytest.mark.parametrize("device", ["dummy", "dummy:GPU"])
def test_an_engine_is_chosen_by_the_name_of_its_device(device: str, dummy: list[str], tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ("fp32", "int8", "fp16"))
    model = Model.from_pretrained(folder, device=device)
    assert model.dtype == "int8"
    assert dummy == ["model_int8.onnx"]
    assert preferred_variants(SessionConfig(device=device)) == ("int8", "fp32")
    with pytest.raises(DeviceError, match=r"no dummy kernels for fp16.*dtype='int8'"):
        choose_variant(Bundle.load(folder), "fp16", SessionConfig(device=device))


def test_what_a_graph_names_is_looked_at_before_any_engine_has_it(dummy: list[str], tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ("int8",))
    (folder / "edgepipe.json").unlink()
    graph = folder / "onnx" / "model_int8.onnx"
    model = onnx.load(graph, load_external_data=False)
    model.graph.node.append(onnx.helper.make_node("EPContext", [], ["compiled"], domain="com.microsoft"))
    graph.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="has a node EPContext"):
        Model.from_pretrained(folder, device="dummy")
    assert dummy == []


@pytest.mark.parametrize("device", [None, "cpu", "cuda", "cuda:1", 0, -1])
def test_other_devices_are_those_of_onnxruntime(device: Any) -> None:
    assert engine_for(SessionConfig(device=device)) is ENGINES[DEFAULT]()


@pytest.mark.parametrize("device", ["dumy", "onnxruntime", "dummy"])
def test_a_device_of_no_engine(device: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='device must be "cpu", "cuda", "cuda:1" or an index, got '):
        Model.from_pretrained(write_bundle(tmp_path / "bundle"), device=device)


def test_every_engine_tells_what_is_installed(dummy: list[str]) -> None:
    assert ENGINES["dummy"]().describe() == {}
    assert "CPUExecutionProvider" in ENGINES[DEFAULT]().describe()["providers"]
    assert dummy == [], "nothing is loaded for it"
