"""What is counted of a graph's weights is what a session of onnxruntime holds."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgepipe.backend.onnxruntime.graphs.packed_weights import count_memory, is_smaller_packed
from edgepipe.backend.session import MemoryNeed, SessionConfig
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle, write_graph
from tests.runtime.wide_bundle import write_wide_graph

WIDE = 60
# A session holds some more than its weights.
ROOM = 40_000_000

HELD = """
import sys
from pathlib import Path
from edgepipe.backend.engines import create_session
from edgepipe.backend.session import SessionConfig
from edgepipe.benchmarking.memory import read_memory
import onnxruntime
before = read_memory()["anonymous_bytes"]
session = create_session(Path(sys.argv[1]), SessionConfig(num_threads=1, low_memory=sys.argv[2] == "low"))
print(read_memory()["anonymous_bytes"] - before)
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide") / "model.onnx"
    write_wide_graph(path, WIDE)
    return path


@pytest.mark.parametrize(("mode", "config"), [("plain", SessionConfig()), ("low", SessionConfig(low_memory=True))])
def test_a_session_holds_what_is_counted(wide: Path, mode: str, config: SessionConfig) -> None:
    need = count_memory(wide, config)
    held = int(run_python(HELD, str(wide), mode))
    assert need.private <= held <= need.private + ROOM
    assert (need.private > WIDE * 900_000) == (mode == "plain")
    assert need.mapped == pytest.approx(Path(f"{wide}_data").stat().st_size, rel=0.01)


def test_embeddings_stay_in_their_file(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    need = count_memory(folder / "onnx" / "model.onnx", SessionConfig())
    assert need.mapped > 10_000
    assert need.private < 100


def test_weights_within_the_graph_are_private(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path, external=False)
    for low_memory in (False, True):
        need = count_memory(path, SessionConfig(low_memory=low_memory))
        assert need.private > 10_000
        assert need.mapped == 0


def test_integers_count_where_there_are_kernels_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    tensor = onnx.TensorProto(
        name="weights", dims=[64, 64], data_type=onnx.TensorProto.INT8, data_location=onnx.TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="length", value="4096")
    node = onnx.helper.make_node("MatMulInteger", ["x", "weights"], ["y"])
    graph = onnx.helper.make_graph([node], "product", [], [], [tensor])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    where = "edgepipe.backend.onnxruntime.graphs.packed_weights.cpu_flags"
    monkeypatch.setattr(where, lambda: frozenset({"sse4_1"}))
    assert count_memory(path, SessionConfig()) == MemoryNeed(0, 4096)
    monkeypatch.setattr(where, lambda: frozenset({"avx2"}))
    assert count_memory(path, SessionConfig()) == MemoryNeed(4096, 4096)


def write_blockwise(path: Path, inner: int, columns: int, others: int) -> None:
    """A product in 4 bits, and so many others that are a thousandth of its size."""
    nodes, tensors = [], []
    for number, width in enumerate([columns, *[max(1, columns // 1000)] * others]):
        name = f"weights.{number}"
        tensor = onnx.TensorProto(
            name=name, dims=[1], data_type=onnx.TensorProto.UINT8, data_location=onnx.TensorProto.EXTERNAL
        )
        tensor.external_data.add(key="length", value=str(inner * width // 2))
        tensors.append(tensor)
        inputs = ["x", name, "scales"]
        nodes.append(onnx.helper.make_node("MatMulNBits", inputs, ["y"], domain="com.microsoft", K=inner, N=width))
    path.write_bytes(
        onnx.helper.make_model(onnx.helper.make_graph(nodes, "blockwise", [], [], tensors)).SerializeToString()
    )


def test_a_large_product_in_4_bits_takes_less_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without packing onnxruntime writes the whole matrix in fp32, eight times its size."""
    monkeypatch.setattr("edgepipe.backend.onnxruntime.graphs.packed_weights.cpu_flags", lambda: frozenset({"avx2"}))
    path = tmp_path / "model.onnx"
    write_blockwise(path, 64, 10_000, others=10)
    assert is_smaller_packed(path)
    plain, low = (count_memory(path, SessionConfig(low_memory=low_memory)) for low_memory in (False, True))
    assert plain == low
    assert plain.private == plain.mapped
    write_blockwise(path, 64, 10_000, others=10_000)
    assert not is_smaller_packed(path)
    assert count_memory(path, SessionConfig(low_memory=True)).private == 4 * 64 * 10_000


def test_nothing_is_counted_where_it_is_not_known(wide: Path) -> None:
    import onnxruntime

    assert count_memory(wide, SessionConfig(session_options=onnxruntime.SessionOptions())) == MemoryNeed()


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_graph_that_was_cut_is_no_need(wide: Path, tmp_path: Path, kept: float) -> None:
    data = wide.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises((ValueError, IndexError)):
        count_memory(path, SessionConfig())
