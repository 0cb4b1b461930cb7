"""Faults to put into a copy of a bundle, each with a manifest that fits the files: digests alone would find none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepipe.bundle.layout import graph_file
from tests.runtime.probed_bundle import sign

Arrays = dict[str, NDArray[Any]]


def edit_graph(
    folder: Path, dtype: str, change: Callable[[onnx.ModelProto, Arrays], None], name: str = "model"
) -> None:
    """Change a graph and its weights, which lie outside of it."""
    path = folder / "onnx" / graph_file(dtype, name)
    model = onnx.load(path)
    weights = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}
    before = {key: array.tobytes() for key, array in weights.items()}
    change(model, weights)
    for tensor in model.graph.initializer:
        if tensor.name in before and weights[tensor.name].tobytes() != before[tensor.name]:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    data = path.with_name(f"{path.name}_data")
    data.unlink()
    onnx.save_model(model, path, save_as_external_data=True, location=data.name)
    sign(folder)


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a file of JSON."""
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def flip_bit(weights: Arrays, generator: np.random.Generator, bit: int) -> str:
    """Flip one bit of one number of one weight; its name."""
    names = sorted(name for name, array in weights.items() if array.size > 1 and array.dtype != np.int64)
    name = names[generator.integers(len(names))]
    raw = weights[name].reshape(-1).view(f"u{weights[name].itemsize}")
    place = generator.integers(len(raw))
    raw[place] ^= raw.dtype.type(1 << min(bit, 8 * raw.itemsize - 1))
    return name


def swap_layers(_: onnx.ModelProto, weights: Arrays) -> None:
    """Swap the weights of two layers that have the same shapes."""
    for name in [name for name in weights if ".layer.0." in name]:
        other = name.replace(".layer.0.", ".layer.1.")
        weights[name], weights[other] = weights[other], weights[name]


def make_nan(_: onnx.ModelProto, weights: Arrays) -> None:
    """Have one number of one weight be none."""
    name = next(name for name, array in weights.items() if array.dtype == np.float32 and array.ndim == 1)
    weights[name][0] = np.nan


def overflow(_: onnx.ModelProto, weights: Arrays) -> None:
    """Have what 16 bits hold be too little: activations as large as some checkpoints have them."""
    for name, array in weights.items():
        if array.dtype == np.float16 and array.ndim == 2:
            array *= np.float16(300)
            weights[name] = array


def fuse_wrongly(model: onnx.ModelProto, _: Arrays) -> None:
    """Compute one activation by another function, as an engine whose fusion takes one for the other."""
    node = next(node for node in model.graph.node if node.op_type in ("Gelu", "Erf"))
    node.op_type, node.domain = "Relu", ""
    del node.attribute[:]


def saturate(model: onnx.ModelProto, _: Arrays, bits: int = 16) -> None:
    """Have products of 8-bit numbers be added in pairs that saturate at 16 bits, as x86 without VNNI does it.

    With 32 bits they are exact, as with VNNI. ``VPMADDUBSW`` multiplies unsigned activations with signed weights. The
    even and the odd of each pair are products of their own here, [rows, pairs, columns], whose sum is cut.
    """
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([-2]), "before_last"),
            numpy_helper.from_array(np.array([0, 1]), "even_odd_starts"),
            numpy_helper.from_array(np.array(-(2 ** (bits - 1)), np.int32), "least"),
            numpy_helper.from_array(np.array(2 ** (bits - 1) - 1, np.int32), "most"),
        ]
    )
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "MatMulInteger":
            nodes.append(node)
            continue
        nodes += _saturating_product(node)
    del graph.node[:]
    graph.node.extend(nodes)


def cut_pairs(_: onnx.ModelProto, weights: Arrays) -> None:
    """Of a graph that :func:`saturate` made exact: have its pairs of products saturate at 16 bits."""
    weights["least"], weights["most"] = np.array(-(2**15), np.int32), np.array(2**15 - 1, np.int32)


def _saturating_product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    left, right, zero = node.input[0], node.input[1], node.input[2]
    own = node.output[0]
    made = [
        helper.make_node("Cast", [left], [f"{own}_left"], to=TensorProto.INT32),
        helper.make_node("Cast", [right], [f"{own}_right"], to=TensorProto.INT32),
        helper.make_node("Cast", [zero], [f"{own}_zero"], to=TensorProto.INT32),
    ]
    # The sum over pairs without a zero point, then what the zero point takes off: zero * (sum of the weights).
    for number, start in enumerate(("even", "odd")):
        for side, axis in (("left", -1), ("right", 0)):
            bounds = [f"{own}_{start}_{side}_{what}" for what in ("start", "end", "axis", "step")]
            values = (number, np.iinfo(np.int64).max, axis, 2)
            made += [
                helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([value], np.int64)))
                for name, value in zip(bounds, values, strict=True)
            ]
            made.append(helper.make_node("Slice", [f"{own}_{side}", *bounds], [f"{own}_{start}_{side}"]))
        made.append(helper.make_node("Unsqueeze", [f"{own}_{start}_left", "last"], [f"{own}_{start}_rows"]))
        made.append(helper.make_node("Mul", [f"{own}_{start}_rows", f"{own}_{start}_right"], [f"{own}_{start}"]))
    made += [
        helper.make_node("Add", [f"{own}_even", f"{own}_odd"], [f"{own}_pairs"]),
        helper.make_node("Clip", [f"{own}_pairs", "least", "most"], [f"{own}_cut"]),
        helper.make_node("ReduceSum", [f"{own}_cut", "before_last"], [f"{own}_sum"], keepdims=0),
        helper.make_node("ReduceSum", [f"{own}_right", "before_last"], [f"{own}_weights"], keepdims=0),
        helper.make_node("Mul", [f"{own}_weights", f"{own}_zero"], [f"{own}_offset"]),
        helper.make_node("Sub", [f"{own}_sum", f"{own}_offset"], [own]),
    ]
    return made


def shift_cache(model: onnx.ModelProto, _: Arrays) -> None:
    """Read the past keys as if the cache had been written one row off."""
    graph = model.graph
    name = next(
        entry.name for entry in graph.input if entry.name.startswith("past_key_values.") and "key" in entry.name
    )
    for node in graph.node:
        node.input[:] = [f"{name}_shifted" if each == name else each for each in node.input]
    one, axis = (np.array([value], np.int64) for value in (1, 2))
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([0], np.int64), "shift_start"),
            numpy_helper.from_array(one, "shift_one"),
            numpy_helper.from_array(np.array([np.iinfo(np.int64).max]), "shift_end"),
            numpy_helper.from_array(axis, "shift_axis"),
        ]
    )
    nodes = [
        helper.make_node("Slice", [name, "shift_one", "shift_end", "shift_axis"], ["shift_rest"]),
        helper.make_node("Slice", [name, "shift_start", "shift_one", "shift_axis"], ["shift_first"]),
        helper.make_node("Concat", ["shift_rest", "shift_first"], [f"{name}_shifted"], axis=2),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def swap_variants(folder: Path, one: str, other: str) -> None:
    """Have two variants have each other's files, under their own names."""
    for suffix in ("", "_data"):
        paths = [folder / "onnx" / f"{graph_file(dtype)}{suffix}" for dtype in (one, other)]
        aside = paths[0].with_name("aside")
        shutil.move(paths[0], aside)
        shutil.move(paths[1], paths[0])
        shutil.move(aside, paths[1])
    for dtype, was in ((one, other), (other, one)):
        path = folder / "onnx" / graph_file(dtype)
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = entry.value.replace(graph_file(was), graph_file(dtype))
        onnx.save_model(model, path)
    sign(folder)
