"""A bundle whose fp32 variant is much larger than it looks: a product with weights of many megabytes, all of them zero.

The file of the weights is sparse, so it takes no room on the disk. Its int8 variant is the small one of `small_bundle`.
"""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper

from tests.runtime.small_bundle import LABELS, VOCABULARY, write_bundle

_HIDDEN = 1024
# Where a tensor lies in the file of the weights, for onnxruntime to map it.
_PAGE = 65_536


def write_wide(folder: Path, megabytes: int) -> Path:
    """Write the bundle, without a manifest; returns `folder`.

    Args:
        folder: Where.
        megabytes: The weights of the product. The embeddings before it have 3.7 MB.
    """
    write_bundle(folder, ("fp32", "int8"))
    (folder / "edgepipe.json").unlink()
    write_wide_graph(folder / "onnx" / "model.onnx", megabytes)
    return folder


def write_wide_graph(path: Path, megabytes: int) -> None:
    """Write its graph: embeddings, the product, and one to the labels."""
    width = megabytes * 1_000_000 // (4 * _HIDDEN)
    shapes = {"words": (VOCABULARY, _HIDDEN), "wide": (_HIDDEN, width), "last": (width, len(LABELS))}
    weights, place = [], 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", f"{path.name}_data"), ("offset", str(place)), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
        weights.append(tensor)
        place += -(-size // _PAGE) * _PAGE
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "wide"], ["widened"]),
        helper.make_node("MatMul", ["widened", "last"], ["scores"]),
        helper.make_node("ReduceMax", ["scores", "token_axis"], ["logits"], keepdims=0),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", len(LABELS)])
    axis = helper.make_tensor("token_axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "wide", [ids], [logits], [*weights, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    with Path(f"{path}_data").open("wb") as file:
        file.truncate(place)
