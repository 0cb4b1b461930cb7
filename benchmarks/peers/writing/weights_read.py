"""The bytes of weights that an engine reads for each new token: all but tables of which it takes a row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

# Operators that read rows of their first input.
_LOOKUPS = {"Gather", "GatherBlockQuantized"}
_BITS = {onnx.TensorProto.UINT4: 4, onnx.TensorProto.INT4: 4}
# What OpenVINO puts between a stored weight and the operator that uses it.
_UNPACKING = {"Convert", "Subtract", "Multiply", "Reshape"}


def count_onnx(graph: Path) -> int:
    """Of a graph for onnxruntime, quantized or not."""
    found = onnx.load(graph, load_external_data=False).graph
    used: set[str] = set()
    for node in found.node:
        # Codes, scales and zero points of a table are all read by row.
        tables = {*node.input[:1], *node.input[2:]} if node.op_type in _LOOKUPS else set()
        used |= {name for name in node.input if name not in tables}
    return sum(_size(tensor) for tensor in found.initializer if tensor.name in used)


def _size(tensor: onnx.TensorProto) -> int:
    bits = _BITS.get(tensor.data_type) or 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return math.prod(tensor.dims) * bits // 8


def count_gguf(file: Path) -> int:
    """Of a file for llama.cpp, as the program noted that wrote it."""
    noted: dict[str, int] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return noted["bytes_read"]


def count_openvino(model: Path) -> int:
    """Of a model of OpenVINO."""
    import openvino

    total = 0
    for node in openvino.Core().read_model(model).get_ops():
        if node.get_type_name() == "Constant" and not _is_table(node):
            total += node.get_byte_size()
    return total


def _is_table(node: Any) -> bool:
    """Whether only rows of a constant are read."""
    users = [(target.get_node(), target.get_index()) for target in node.output(0).get_target_inputs()]
    return bool(users) and all(
        _is_table(user) if user.get_type_name() in _UNPACKING else user.get_type_name() == "Gather" and place == 0
        for user, place in users
    )


def count_checkpoint(folder: Path, bytes_each: float = 4) -> int:
    """Of a checkpoint whose weights take so many bytes each, by their shapes."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shapes = _read_shapes(folder / "model.safetensors")
    tied = config.get("tie_word_embeddings", True)
    tables = ("wpe.weight",) if tied else ("wpe.weight", "embed_tokens.weight", "wte.weight")
    return int(bytes_each * sum(math.prod(shape) for name, shape in shapes if not name.endswith(tables)))


def _read_shapes(file: Path) -> Iterable[tuple[str, list[int]]]:
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return [(name, entry["shape"]) for name, entry in header.items() if name != "__metadata__"]
