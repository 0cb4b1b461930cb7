"""Products in integers beside numpy's, from weights in blocks that are written by hand."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepipe.backend.engines import create_session
from edgepipe.backend.machine import saturates
from edgepipe.backend.onnxruntime.graphs.integer_products import RewrittenGraph, use_integer_products
from edgepipe.backend.onnxruntime.graphs.packed_weights import count_memory
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import BundleError

pytestmark = pytest.mark.skipif(saturates(), reason="sums of 8-bit products overflow on this processor")

INPUTS, OUTPUTS, BLOCK = 40, 24, 16  # the last block of a row is not full
COUNT = -(-INPUTS // BLOCK)
CONTRIBUTED = "com.microsoft"
IN_INTEGERS = SessionConfig("cpu", integer_products=True)
# name: bits, whether blocks have zero points, whether there is a bias.
KINDS = {
    "8 bits": (8, False, False),
    "8 bits with zero points": (8, True, True),
    "4 bits": (4, False, True),
    "4 bits with zero points": (4, True, False),
}


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes as they are stored, of two in 4 bits the first in the lower half of a byte."""
    if bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    return codes[..., ::2] | codes[..., 1::2] << 4


class Weight:
    """A weight in blocks: what the graph has of it, and its numbers, float32[inputs, outputs]."""

    def __init__(self, name: str, bits: int = 8, *, zero_points: bool = False, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        codes = draw.integers(0, 2**bits, (OUTPUTS, COUNT, BLOCK), dtype=np.uint8)
        scales = draw.uniform(0.01, 1, (OUTPUTS, COUNT)).astype(np.float32)
        zeros = draw.integers(0, 2**bits, (OUTPUTS, COUNT), dtype=np.uint8)
        middle = zeros[..., None] if zero_points else 2 ** (bits - 1)
        numbers = (codes.astype(np.float32) - middle) * scales[..., None]
        self.numbers = numbers.reshape(OUTPUTS, -1)[:, :INPUTS].T
        self.bits = bits
        self.arrays = {f"{name}_codes": pack(codes, bits), f"{name}_scales": scales}
        if zero_points:
            self.arrays[f"{name}_zeros"] = pack(zeros, bits)
        self.operands = list(self.arrays)

    def multiply(self, given: str, result: str, bias: str = "", **attributes: int) -> onnx.NodeProto:
        operands = [given, *self.operands, *([""] * (3 - len(self.operands))), "", bias]
        numbers = {"K": INPUTS, "N": OUTPUTS, "bits": self.bits, "block_size": BLOCK, "accuracy_level": 4}
        numbers |= attributes
        return helper.make_node("MatMulNBits", operands, [result], domain=CONTRIBUTED, **numbers)


BIAS = np.linspace(-3, 3, OUTPUTS, dtype=np.float32)


def write(path: Path, nodes: list[onnx.NodeProto], *weights: Weight, opset: int = 20, external: bool = True) -> Path:
    """A graph that reads `given`, and gives `result`."""
    arrays: dict[str, NDArray[Any]] = {"bias": BIAS}
    for weight in weights:
        arrays |= weight.arrays
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("given", TensorProto.FLOAT, ["rows", INPUTS])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["rows", OUTPUTS])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(CONTRIBUTED, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}_data", size_threshold=0)
    return path


def end(value: str) -> onnx.NodeProto:
    """What keeps a product from being the graph's output, which would make it a head."""
    return helper.make_node("Neg", [value], ["result"])


def given(rows: int = 7) -> NDArray[np.float32]:
    found = np.random.default_rng(9).standard_normal((rows, INPUTS), dtype=np.float32)
    found *= np.geomspace(1e-3, 1e3, rows, dtype=np.float32)[:, None]
    found[rows // 2] = 0
    return found


def multiply_in_integers(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the product is to be: each row and each output rounded to 127 steps on either side of zero."""
    peaks = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30)
    codes = np.rint(rows / peaks * np.float32(127))
    steps = np.abs(weight).max(axis=0) / np.float32(127)
    found: NDArray[np.float32] = (codes @ np.rint(weight / steps)) * steps * (peaks / np.float32(127))
    return found


def run(path: Path, rows: NDArray[np.float32], config: SessionConfig = IN_INTEGERS) -> NDArray[np.float32]:
    return create_session(path, config).run({"given": rows})["result"]


def rewrite(path: Path, num_threads: int = 1) -> RewrittenGraph:
    found = use_integer_products(path, num_threads)
    assert found is not None
    return found


def count_operators(path: Path) -> dict[str, int]:
    operators = [node.op_type for node in onnx.load_model_from_string(rewrite(path).model).graph.node]
    return {name: operators.count(name) for name in operators}


@pytest.mark.parametrize("external", [True, False], ids=["beside", "within"])
@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_rounded_rows_and_outputs(kind: str, external: bool, tmp_path: Path) -> None:
    bits, zero_points, has_bias = KINDS[kind]
    weight = Weight("weight", bits, zero_points=zero_points)
    nodes = [weight.multiply("given", "product", "bias" if has_bias else ""), end("product")]
    path = write(tmp_path / "model.onnx", nodes, weight, external=external)
    rows = given()
    expected = -(multiply_in_integers(rows, weight.numbers) + (BIAS if has_bias else 0))
    # A number in the middle of two steps may go to either.
    near = {"rtol": 1e-5, "atol": 1e-2 * float(np.abs(expected).max())}
    found = run(path, rows)
    np.testing.assert_allclose(found, expected, **near)
    assert np.median(np.abs(found - expected)) < 1e-5 * np.abs(expected).max()
    plain = run(path, rows, SessionConfig("cpu"))
    np.testing.assert_allclose(found, plain, atol=0.05 * float(np.abs(plain).max()))
    assert np.abs(found - plain).max() > 0


def test_a_row_gives_the_same_whatever_is_beside_it(tmp_path: Path) -> None:
    weight = Weight("weight")
    path = write(tmp_path / "model.onnx", [weight.multiply("given", "product"), end("product")], weight)
    rows = given()
    alone = np.concatenate([run(path, rows[row : row + 1]) for row in range(len(rows))])
    np.testing.assert_array_equal(alone, run(path, rows))


def test_rows_that_several_products_read_are_rounded_once(tmp_path: Path) -> None:
    first, second = Weight("first"), Weight("second", 4, seed=1)
    nodes = [first.multiply("given", "one"), second.multiply("given", "two"), first.multiply("given", "three")]
    nodes += [helper.make_node("Add", ["one", "two"], ["both"]), helper.make_node("Sub", ["both", "three"], ["result"])]
    path = write(tmp_path / "model.onnx", nodes, first, second)
    counts = count_operators(path)
    assert (counts["QuantizeLinear"], counts["MatMulIntegerToFloat"], counts.get("MatMulNBits")) == (1, 3, None)
    assert len(rewrite(path).weights) == 4  # codes and scales of two weights
    expected = multiply_in_integers(given(), second.numbers)
    np.testing.assert_allclose(run(path, given()), expected, atol=2e-2 * float(np.abs(expected).max()))


def test_a_head_and_products_in_fp32_stay_as_they_are(tmp_path: Path) -> None:
    first, exact, head = Weight("first"), Weight("exact", seed=1), Weight("head", seed=2)
    nodes = [
        first.multiply("given", "one"),
        exact.multiply("given", "two", accuracy_level=1),
        helper.make_node("Add", ["one", "two"], ["both"]),
        helper.make_node("Concat", ["both", "both"], ["wide"], axis=1),
        helper.make_node("Slice", ["wide", "start", "stop", "axis"], ["cut"]),
        head.multiply("cut", "result"),
    ]
    constants = {"start": 0, "stop": INPUTS, "axis": 1}
    for name, number in constants.items():
        head.arrays[name] = np.array([number])
    path = write(tmp_path / "model.onnx", nodes, first, exact, head, external=False)
    assert count_operators(path)["MatMulNBits"] == 2
    one = multiply_in_integers(given(), first.numbers) + given() @ exact.numbers
    expected = np.concatenate([one, one], axis=1)[:, :INPUTS] @ head.numbers
    assert np.corrcoef(run(path, given()).ravel(), expected.ravel())[0, 1] > 0.999


def test_its_weights_live_as_long_as_the_session(tmp_path: Path) -> None:
    weight = Weight("weight")
    path = write(tmp_path / "model.onnx", [weight.multiply("given", "product"), end("product")], weight)
    sessions = {
        low: create_session(path, SessionConfig("cpu", integer_products=True, low_memory=low)) for low in (0, 1)
    }
    gc.collect()
    noise = [np.full(INPUTS * OUTPUTS, 77, np.int8) for _ in range(64)]  # would lie where they lay
    found = [session.run({"given": given()})["result"] for session in sessions.values()]
    assert len(noise) == 64
    for each in found:
        np.testing.assert_array_equal(each, run(path, given()))


def test_threads_change_nothing(tmp_path: Path) -> None:
    weights = [Weight(f"weight_{seed}", seed=seed) for seed in range(5)]
    nodes = [weight.multiply("given", f"product_{index}") for index, weight in enumerate(weights)]
    nodes.append(helper.make_node("Sum", [f"product_{index}" for index in range(5)], ["result"]))
    path = write(tmp_path / "model.onnx", nodes, *weights)
    one, many = rewrite(path, 1), rewrite(path, 4)
    assert one.model == many.model
    assert list(one.weights) == list(many.weights)
    for name, array in one.weights.items():
        np.testing.assert_array_equal(array, many.weights[name])


def test_a_graph_without_such_products_stays_as_it_is(tmp_path: Path) -> None:
    weight = Weight("weight")
    path = write(
        tmp_path / "model.onnx", [weight.multiply("given", "product", accuracy_level=1), end("product")], weight
    )
    assert use_integer_products(path) is None
    np.testing.assert_allclose(run(path, given()), -given() @ weight.numbers, rtol=1e-3, atol=1e-3)


def test_operators_that_are_too_old_are_refused(tmp_path: Path) -> None:
    weight = Weight("weight")
    path = write(tmp_path / "model.onnx", [weight.multiply("given", "product"), end("product")], weight, opset=17)
    with pytest.raises(
        BundleError, match=r"cannot have its products in integers: it is written in opset 17, .*take w8"
    ):
        create_session(path, IN_INTEGERS)


def test_weights_that_end_too_early_are_refused(tmp_path: Path) -> None:
    weight = Weight("weight")
    path = write(tmp_path / "model.onnx", [weight.multiply("given", "product"), end("product")], weight)
    data = Path(f"{path}_data")
    data.write_bytes(data.read_bytes()[:200])
    with pytest.raises(BundleError, match="is truncated or altered"):
        create_session(path, IN_INTEGERS)


def test_weights_in_blocks_go_where_nothing_else_reads_them(tmp_path: Path) -> None:
    first, tied = Weight("first"), Weight("tied", seed=1)
    nodes = [
        first.multiply("given", "one"),
        tied.multiply("given", "two"),
        helper.make_node("Gather", ["tied_scales", "row"], ["some"]),
        helper.make_node("ReduceMax", ["some", "axis"], ["largest"], keepdims=0),
        helper.make_node("Add", ["one", "two"], ["both"]),
        helper.make_node("Add", ["both", "largest"], ["result"]),
    ]
    tied.arrays |= {"row": np.array(0), "axis": np.array([0])}
    path = write(tmp_path / "model.onnx", nodes, first, tied, external=False)
    names = {tensor.name for tensor in onnx.load_model_from_string(rewrite(path).model).graph.initializer}
    assert names & {*first.arrays, *tied.arrays} == {"tied_scales", "row", "axis"}


def test_what_they_need_is_counted(tmp_path: Path) -> None:
    weight = Weight("weight")
    path = write(tmp_path / "model.onnx", [weight.multiply("given", "product"), end("product")], weight)
    need = count_memory(path, IN_INTEGERS)
    made = sum(array.nbytes for array in rewrite(path).weights.values())
    assert need.private >= made + INPUTS * OUTPUTS  # as they are given, and packed
    assert need.mapped < Path(f"{path}_data").stat().st_size
    assert need.private > count_memory(path, SessionConfig("cpu")).private
