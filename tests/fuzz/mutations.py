"""What may have happened to a file: flipped, cut, swapped, nested, of the wrong type, deleted, doubled, huge."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

# Stands for text that `json.dumps` does not write; see `_RAW`.
_MARK = "@raw{}@"
_RAW = ("1" * 5000, "-" + "9" * 400, "1e999", "NaN", "-Infinity", "[" * 100_000 + "]" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000, '"\\ud800"', '"\\u0000"', "01", "'a'", "")  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -(10**18),
    0.0, -0.0, 0.5, 1e-320, 1e308, "", " ", "a", "1", "true", "\x00", "../../etc/passwd", "/etc/passwd", "é\u202e",
    "a" * 100_000, [], {}, [None], [[]], [1, 2], ["a"], {"a": 1}, {"": None}, [[[[[[]]]]]], "bert", "gpt2",
)  # fmt: skip


def mutate_json(content: bytes, draw: random.Random) -> bytes:
    """Alter a JSON file: mostly its structure, else its bytes."""
    if draw.random() < 0.25:
        return mutate_bytes(content, draw)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return mutate_bytes(content, draw)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        value = mutate_value(value, draw)
    text = json.dumps(value)
    for index, raw in enumerate(_RAW):
        text = text.replace(json.dumps(_MARK.format(index)), raw)
    if draw.random() < 0.1:  # the same name twice
        at = [index for index in range(len(text)) if text.startswith('": ', index)]
        if at:
            place = draw.choice(at)
            begin = text.rfind('"', 0, place)
            text = f"{text[:begin]}{text[begin : place + 3]}{json.dumps(draw.choice(ODD_VALUES))}, {text[begin:]}"
    return text.encode()


def mutate_value(value: Any, draw: random.Random) -> Any:
    """Alter one place of what a JSON file holds, mostly one near its root."""
    path: list[tuple[Any, Any]] = []
    at = value
    while isinstance(at, (dict, list)) and at and (not path or draw.random() < 0.7):
        key = draw.choice(list(at)) if isinstance(at, dict) else draw.randrange(len(at))
        path.append((at, key))
        at = at[key]
    if not path or draw.random() < 0.02:
        return _odd(draw)
    parent, key = path[-1]
    _alter(parent, key, value, draw)
    return value


def _odd(draw: random.Random) -> Any:
    if draw.random() < 0.15:
        return _MARK.format(draw.randrange(len(_RAW)))
    return copy.deepcopy(draw.choice(ODD_VALUES))  # lists in it are changed later


def _alter(parent: Any, key: Any, whole: Any, draw: random.Random) -> None:
    old = parent[key]
    kind = draw.choice(("odd", "odd", "odd", "delete", "near", "nest", "swap", "rename", "whole", "add"))
    if kind == "odd":
        parent[key] = _odd(draw)
    elif kind == "delete":
        del parent[key]
    elif kind == "near":
        parent[key] = _near(old, draw)
    elif kind == "nest":
        for _ in range(draw.choice((1, 2, 50))):
            old = [old] if draw.random() < 0.5 else {"a": old}
        parent[key] = old
    elif kind == "swap":
        other = draw.choice(list(parent)) if isinstance(parent, dict) else draw.randrange(len(parent))
        parent[key], parent[other] = parent[other], parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[draw.choice(("", "a", str(key).upper(), f"{key}_", "__class__"))] = parent.pop(key)
    elif kind == "whole" and isinstance(whole, dict):
        parent[key] = copy.deepcopy(draw.choice(list(whole.values())))
    elif isinstance(parent, list):
        parent.insert(draw.randrange(len(parent) + 1), _odd(draw) if draw.random() < 0.5 else copy.deepcopy(old))
    else:
        parent[str(_odd(draw))[:50]] = _odd(draw)


def _near(old: Any, draw: random.Random) -> Any:
    """A value of the same type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return draw.choice((old + 1, old - 1, -old, old * 2, old // 2, old * 1000, old + 2**32, float(old), str(old)))
    if isinstance(old, float):
        return draw.choice((-old, old * 1e10, old + 1, int(old) if abs(old) < 1e300 else 0))
    if isinstance(old, str):
        return draw.choice((old + "a", old[:-1], old.upper(), old * 1000, old[::-1], f"{old}\x00", [old]))
    if isinstance(old, list):
        return draw.choice((old[::-1], old * 2, old[:-1], old[:1] * 2000, dict(enumerate(map(str, old)))))
    return list(old.items()) if isinstance(old, dict) else 0


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """Alter a file without knowing what is in it."""
    size = len(content)
    at, length = draw.randrange(size + 1), draw.choice((1, 2, 4, 16, 256, 4096))
    kind = draw.choice(("flip", "flip", "flip", "cut", "empty", "delete", "double", "zero", "ones", "random", "more"))
    if kind == "flip":
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 3, 20)) if size else 0):
            changed[draw.randrange(size)] ^= 1 << draw.randrange(8)
        return bytes(changed)
    if kind == "cut":
        return content[:at]
    if kind == "empty":
        return draw.choice((b"", b"\x00", b"\n", b"\xff\xfe", b"\xef\xbb\xbf" + content))
    if kind == "delete":
        return content[:at] + content[at + length :]
    if kind == "double":
        return content[:at] + content[at : at + length] * draw.choice((2, 50)) + content[at + length :]
    if kind == "more":
        return content + draw.randbytes(length)
    filling = {"zero": bytes(length), "ones": b"\xff" * length}.get(kind) or draw.randbytes(length)
    return content[:at] + filling[: max(size - at, 0)] + content[at + length :]


def mutate_graph(content: bytes, draw: random.Random) -> bytes:
    """Alter an ONNX graph: its nodes, tensors, inputs and outputs, or its bytes."""
    if draw.random() < 0.3:
        return mutate_bytes(content, draw)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        for _ in range(draw.choice((1, 1, 2))):
            draw.choice(_GRAPH_CHANGES)(model, draw)
        return bytes(model.SerializeToString())
    except (ValueError, TypeError, IndexError, onnx.onnx_cpp2py_export.checker.ValidationError):
        return mutate_bytes(content, draw)  # it has none of what was to be changed, or takes no such value
    except Exception as error:
        if type(error).__module__.startswith("google.protobuf"):
            return mutate_bytes(content, draw)
        raise


_SIZES = (0, 1, -1, 2, 3, 7, 31, 900, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
_LOCATIONS = ("../../etc/passwd", "/etc/passwd", "", ".", "tokenizer.json", "0", "1", "-1", "a", "4096",
              "99999999999999999999", "9223372036854775807", "\x00", "a" * 5000)  # fmt: skip
_OPERATORS = ("Add", "MatMul", "Gather", "Reshape", "Softmax", "Identity", "Concat", "Expand", "ReduceSum", "Where",
              "Loop", "If", "ConstantOfShape", "Tile", "Pad", "Range", "NonZero", "TopK", "StringNormalizer",
              "Nonexistent", "")  # fmt: skip


def _names(model: Any) -> list[str]:
    found = [tensor.name for tensor in model.graph.initializer]
    return found + [name for node in model.graph.node for name in (*node.input, *node.output)]


def _change_node(model: Any, draw: random.Random) -> None:
    node = draw.choice(model.graph.node)
    kind = draw.choice(("operator", "input", "output", "domain", "delete", "double", "attribute", "less"))
    if kind == "operator":
        node.op_type = draw.choice(_OPERATORS)
    elif kind == "input":
        node.input[draw.randrange(len(node.input))] = draw.choice([*_names(model), "", "nothing"])
    elif kind == "output":
        node.output[draw.randrange(len(node.output))] = draw.choice([*_names(model), "", "nothing"])
    elif kind == "domain":
        node.domain = draw.choice(("com.microsoft", "a.b", "ai.onnx.ml", "\x00"))
    elif kind == "delete":
        model.graph.node.remove(node)
    elif kind == "double":
        model.graph.node.append(node)
    elif kind == "less":
        del node.input[draw.randrange(len(node.input)) :]
    else:
        attribute = draw.choice(node.attribute)
        if attribute.ints:
            attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(_SIZES)
        elif draw.random() < 0.5:
            attribute.i, attribute.f = draw.choice(_SIZES), draw.choice((0.0, 1e38, float("nan")))
        else:
            attribute.type = draw.randrange(12)


def _change_tensor(model: Any, draw: random.Random) -> None:
    tensor = draw.choice(model.graph.initializer)
    kind = draw.choice(("dims", "dims", "type", "data", "name", "outside", "outside", "delete", "double"))
    if kind == "dims":
        if tensor.dims and draw.random() < 0.8:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(_SIZES)
        else:
            tensor.dims.append(draw.choice(_SIZES))
    elif kind == "type":
        tensor.data_type = draw.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 16, 17, 22, 99, -1))
    elif kind == "data":
        tensor.raw_data = mutate_bytes(tensor.raw_data, draw)
    elif kind == "name":
        tensor.name = draw.choice([*_names(model), ""])
    elif kind == "delete":
        model.graph.initializer.remove(tensor)
    elif kind == "double":
        model.graph.initializer.append(tensor)
    elif tensor.external_data and draw.random() < 0.8:
        entry = draw.choice(tensor.external_data)
        entry.value = draw.choice(_LOCATIONS)
    else:
        tensor.data_location = 1
        tensor.external_data.add(key=draw.choice(("location", "offset", "length", "a")), value=draw.choice(("1", "a")))


def _change_interface(model: Any, draw: random.Random) -> None:
    values = draw.choice((model.graph.input, model.graph.output))
    value = draw.choice(values)
    kind = draw.choice(("name", "type", "shape", "rank", "delete", "double"))
    tensor = value.type.tensor_type
    if kind == "name":
        value.name = draw.choice([*_names(model), "input_ids", "logits", "attention_mask", "", "last_hidden_state"])
    elif kind == "type":
        tensor.elem_type = draw.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 16))
    elif kind == "shape":
        dimension = draw.choice(tensor.shape.dim)
        if draw.random() < 0.5:
            dimension.dim_value = draw.choice(_SIZES)
        else:
            dimension.dim_param = draw.choice(("batch_size", "sequence_length", "a", ""))
    elif kind == "rank":
        tensor.shape.dim.add(dim_value=draw.choice(_SIZES))
    elif kind == "delete":
        values.remove(value)
    else:
        values.append(value)


def _change_head(model: Any, draw: random.Random) -> None:
    if draw.random() < 0.4:
        model.ir_version = draw.choice(_SIZES)
    elif draw.random() < 0.7:
        opset = draw.choice(model.opset_import)
        opset.version = draw.choice((0, 1, 7, 11, 13, 17, 21, 25, 999, -1, 2**40))
        if draw.random() < 0.3:
            opset.domain = draw.choice(("com.microsoft", "a.b"))
    else:
        model.metadata_props.add(key=draw.choice(("a", "\x00", "x" * 100_000)), value="b")


def _make_it_large(model: Any, draw: random.Random) -> None:
    """The last output, made so large that nobody has the memory."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == output:
                node.output[index] = f"{output}_small"
    sizes = onnx.numpy_helper.from_array(np.array([draw.choice((2**20, 2**31, 2**40)), 1000]), "huge")
    model.graph.initializer.append(sizes)
    model.graph.node.append(onnx.helper.make_node("Expand", [f"{output}_small", "huge"], [output]))


_GRAPH_CHANGES: tuple[Callable[[Any, random.Random], None], ...] = (
    *(_change_node,) * 6, *(_change_tensor,) * 6, *(_change_interface,) * 4, _change_head, _make_it_large,
)  # fmt: skip
