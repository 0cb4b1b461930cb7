from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.errors import InputError
from edgepipe_export.quantization import target as target_module
from edgepipe_export.quantization.quantize import check_dtypes, graph_path, quantize
from edgepipe_export.quantization.target import Target, find_target


def constants(bundle: Bundle) -> dict[str, onnx_ir.TensorProtocol]:
    graph = onnx_ir.load(bundle.graph("int8")).graph
    return {name: value.const_value for name, value in graph.initializers.items() if value.const_value is not None}


def test_every_matrix_is_in_8_bits(exported: Bundle) -> None:
    graph = onnx_ir.load(exported.graph("int8")).graph
    operators = Counter(node.op_type for node in graph.all_nodes())
    float_graph = onnx_ir.load(exported.graph("fp32")).graph
    products = [node for node in float_graph.all_nodes() if node.op_type in ("MatMul", "Gemm")]
    constant = [node for node in products if node.inputs[1] is not None and node.inputs[1].is_initializer()]
    assert operators["MatMulInteger"] == len(constant) == 14  # 2 layers of 6, pooler, classifier
    assert operators["Gemm"] == 0
    for name, tensor in constants(exported).items():
        matrix = len(tensor.shape) > 1 and tensor.dtype.is_floating_point() and not name.endswith("_scales")
        if matrix or name.endswith("_quantized"):
            assert tensor.dtype in (onnx_ir.DataType.INT8, onnx_ir.DataType.UINT8), name


def test_weights_have_a_scale_for_every_channel(exported: Bundle) -> None:
    graph = onnx_ir.load(exported.graph("int8")).graph
    for node in graph.all_nodes():
        if node.op_type == "MatMulInteger":
            weight, zero_point = node.inputs[1], node.inputs[3]
            assert weight is not None
            assert zero_point is not None
            assert weight.const_value is not None
            assert zero_point.const_value is not None
            assert list(zero_point.const_value.shape) == [weight.const_value.shape[1]]


def test_values_keep_their_shapes(exported: Bundle) -> None:
    """Without the names of their dimensions onnxruntime does not fuse additions with the norms behind them."""
    shapes = [
        {value.name: value.shape for node in onnx_ir.load(exported.graph(dtype)).graph for value in node.outputs}
        for dtype in ("fp32", "int8")
    ]
    both = shapes[0].keys() & shapes[1].keys()
    assert len(both) > len(shapes[0]) / 2
    assert {name: shapes[0][name] for name in both} == {name: shapes[1][name] for name in both}


def test_inputs_and_outputs_are_those_of_fp32(exported: Bundle) -> None:
    graphs = [onnx_ir.load(exported.graph(dtype)).graph for dtype in ("fp32", "int8")]
    described = [
        [(value.name, value.dtype, value.shape) for value in (*graph.inputs, *graph.outputs)] for graph in graphs
    ]
    assert described[0] == described[1]


def test_it_is_small_and_its_weights_are_outside(exported: Bundle) -> None:
    assert exported.manifest is not None
    folder = exported.path / "onnx"
    data = {name: (folder / name).stat().st_size for name in ("model.onnx_data", "model_int8.onnx_data")}
    assert data["model_int8.onnx_data"] < 0.4 * data["model.onnx_data"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.onnx",
        "model.onnx_data",
        "model_int8.onnx",
        "model_int8.onnx_data",
    ]
    outside = [tensor for tensor in constants(exported).values() if isinstance(tensor, onnx_ir.ExternalTensor)]
    assert {str(tensor.location) for tensor in outside} == {"model_int8.onnx_data"}


@pytest.mark.parametrize(("name", "largest"), [("vnni", 127), ("avx2", 64)])
def test_weights_keep_to_7_bits_where_products_saturate(
    exported: Bundle, tmp_path: Path, name: str, largest: int
) -> None:
    path = tmp_path / "model_int8.onnx"
    recipe = quantize("int8", exported.graph("fp32"), path, Target(name))
    assert recipe["target"] == name
    assert recipe["reduce_range"] == (name == "avx2")
    graph = onnx_ir.load(path).graph
    peaks = [
        int(np.abs(node.inputs[1].const_value.numpy().astype(int)).max())
        for node in graph.all_nodes()
        if node.op_type == "MatMulInteger" and node.inputs[1] is not None and node.inputs[1].const_value is not None
    ]
    assert max(peaks) == largest
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model_int8.onnx", "model_int8.onnx_data"]


def test_a_table_of_rows_that_fill_no_block(tmp_path: Path) -> None:
    """T5's relative positions: a row has a number for each head, and a block has 16 at least."""
    generator = np.random.default_rng(0)
    table = numpy_helper.from_array(generator.normal(size=(32, 4)).astype(np.float32), "table")
    matrix = numpy_helper.from_array(generator.normal(size=(4, 4)).astype(np.float32), "matrix")
    shapes = {"ids": (TensorProto.INT64, ["rows", "length"]), "states": (TensorProto.FLOAT, ["rows", "length", 4])}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["found"], axis=0),
            helper.make_node("MatMul", ["states", "matrix"], ["product"]),
            helper.make_node("Add", ["product", "found"], ["sum"]),
        ],
        "positions",
        [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("sum", *shapes["states"])],
        [table, matrix],
        value_info=[helper.make_tensor_value_info("found", *shapes["states"])],
    )
    source = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), source)
    quantize("int8", source, tmp_path / "model_int8.onnx", Target("vnni"))
    feeds = {"ids": np.array([[0, 31, 7]]), "states": generator.normal(size=(1, 3, 4)).astype(np.float32)}
    found, expected = (create_session(tmp_path / f"model{suffix}.onnx").run(feeds)["sum"] for suffix in ("_int8", ""))
    np.testing.assert_allclose(found, expected, atol=0.2)
    assert np.abs(found - expected).max() > 0
    # onnxruntime believes the shapes that a file records: a larger graph with a wrong one does not load.
    (rows,) = (
        value
        for node in onnx_ir.load(tmp_path / "model_int8.onnx").graph
        for value in node.outputs
        if value.name == "found"
    )
    assert rows.shape is not None
    assert rows.shape[-1] == 4


@pytest.mark.parametrize(
    ("machine", "flags", "name"),
    [
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, "vnni"),
        ("x86_64", {"avx2", "avx_vnni"}, "vnni"),
        ("x86_64", {"avx2", "avx512f"}, "avx512"),
        ("AMD64", set(), "avx2"),
        ("aarch64", {"asimddp"}, "arm64"),
        ("arm64", set(), "arm64"),
    ],
)
def test_this_machine(monkeypatch: pytest.MonkeyPatch, machine: str, flags: set[str], name: str) -> None:
    monkeypatch.setattr(target_module.platform, "machine", lambda: machine)
    monkeypatch.setattr(target_module, "cpu_flags", lambda: frozenset(flags))
    assert find_target("this") == Target(name)


def test_an_unknown_target() -> None:
    with pytest.raises(InputError, match=r"'riscv'.*this, avx2, avx512, vnni, arm64"):
        find_target("riscv")


@pytest.mark.parametrize(
    ("given", "wanted"), [(["int8", "fp32", "int8"], ("int8", "fp32")), ("fp32, int8", ("fp32", "int8"))]
)
def test_dtypes_are_kept_in_order_and_once(given: list[str] | str, wanted: tuple[str, ...]) -> None:
    assert check_dtypes(given) == wanted


@pytest.mark.parametrize("given", [("int4",), ("fp32", "int4"), "int4", (None,)])
def test_an_unknown_dtype_names_those_there_are(given: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="fp32, int8"):
        check_dtypes(given)


def test_no_dtype() -> None:
    with pytest.raises(InputError, match="fp32, int8"):
        check_dtypes(())


def test_graph_path() -> None:
    assert graph_path(Path("bundle"), "int8") == Path("bundle/onnx/model_int8.onnx")
