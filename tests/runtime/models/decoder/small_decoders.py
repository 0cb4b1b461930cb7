"""Decoders written by hand, with a cache, whose logits numpy can check.

A decoder-only graph gives for each token the sum of what all tokens up to it say, padding left out:
``logits[b, t] = sum over s <= t of mask[b, s] * (keys[ids[b, s]] + values[ids[b, s]] + places[position_ids[b, s]])``.
An encoder-decoder adds what the tokens of the source say: ``sum over s of mask[b, s] * states[source[b, s]]``.

A third graph has attention of two layers, for engines that put another operator in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepipe import Bundle
from edgepipe.bundle.layout import DECODER, ENCODER, LOGITS_TO_KEEP, MODEL, PAST_SEQUENCE_LENGTH, PLAIN_DECODER
from edgepipe.bundle.manifest import Manifest, Source, Variant
from tests.runtime.small_bundle import entry

VOCABULARY = 11
LIMIT = 12
_END = np.iinfo(np.int64).max
_FLOAT, _INT64, _BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def table(name: str) -> NDArray[np.float32]:
    """What each token (of "places": each place) says of the next token, float32[tokens or places, vocabulary]."""
    seed = ("keys", "values", "places", "states").index(name)
    rows = LIMIT if name == "places" else VOCABULARY
    return np.random.default_rng(seed).standard_normal((rows, VOCABULARY), dtype=np.float32)


def causal_logits(ids: Any, mask: Any = None, *, positions: bool = True) -> NDArray[np.float32]:
    """The logits of the decoder-only graph by numpy, float32[rows, tokens, vocabulary]."""
    ids = np.asarray(ids)
    mask = np.ones_like(ids) if mask is None else np.asarray(mask)
    said = table("keys")[ids] + table("values")[ids]
    if positions:
        said = said + table("places")[np.maximum(mask.cumsum(axis=1) - 1, 0)]
    logits: NDArray[np.float32] = np.cumsum(said * mask[..., None], axis=1, dtype=np.float32)
    return logits


def target_logits(source: Any, mask: Any, ids: Any) -> NDArray[np.float32]:
    """The logits of the encoder-decoder by numpy, float32[rows, tokens of the target, vocabulary]."""
    read = (table("states")[np.asarray(source)] * np.asarray(mask)[..., None]).sum(axis=1, keepdims=True)
    logits: NDArray[np.float32] = (np.cumsum(table("keys")[np.asarray(ids)], axis=1) + read).astype(np.float32)
    return logits


class _Graph:
    """Nodes, and the constants they read."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: Any, name: str = "") -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def part(self, value: str, start: str, end: str, axis: int, name: str = "") -> str:
        return self.add("Slice", value, start, end, self.constant([axis]), name=name)

    def size(self, value: str, axis: int) -> str:
        return self.add("Shape", value, start=axis, end=axis + 1)

    def add_to_cache(self, name: str, new: str, before: str, total: str) -> str:
        """The tokens of a past, and the new ones behind them; what has room for more keeps its size."""
        past, present = f"past_key_values.{name}", f"present.{name}"
        begin, rest = (
            self.part(past, self.constant([0]), before, 2),
            self.part(past, total, self.constant([_END]), 2),
        )
        self.add("Concat", begin, new, rest, name=present, axis=2)
        return self.part(present, self.constant([0]), total, 2)

    def heads(self, value: str) -> str:
        """[rows, tokens, width] as one head."""
        return self.add("Unsqueeze", value, self.constant([1]))

    def kept(self, value: str, keep: str) -> None:
        """The logits: the last tokens of a value."""
        self.part(value, self.add("Neg", keep), self.constant([_END]), 1, name="logits")

    def save(self, path: Path, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Write the graph; inputs and outputs have an element type and a shape each."""
        declared = [
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in values.items()]
            for values in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, path.stem, *declared, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save_model(model, path)


def _cache(name: str, length: str, rows: str = "batch_size") -> tuple[int, list[Any]]:
    return _FLOAT, [rows, 1, length, VOCABULARY]


def write_causal_graph(
    path: Path,
    *,
    cache: bool = True,
    positions: bool = True,
    keep: str = "optional",
    integers: int = _INT64,
    vocabulary: int | str = VOCABULARY,
) -> None:
    """Write a decoder-only graph.

    Args:
        path: Its file.
        cache: Whether it has one; else it computes the whole text at each step.
        positions: Whether it reads ``position_ids``.
        keep: ``num_logits_to_keep`` is an ``"optional"`` input, a ``"required"`` one, or there is ``""``.
        integers: Element type of ids, masks and positions.
        vocabulary: Its declared size.
    """
    graph = _Graph()
    inputs: dict[str, Any] = {"input_ids": (integers, ["batch_size", "sequence_length"])}
    outputs: dict[str, Any] = {"logits": (_FLOAT, ["batch_size", "kept", vocabulary])}
    inputs["attention_mask"] = (integers, ["batch_size", "total_length"])
    values = graph.add("Gather", graph.constant(table("values"), "values"), "input_ids")
    if positions:
        inputs["position_ids"] = inputs["input_ids"]
        values = graph.add(
            "Add", values, graph.add("Gather", graph.constant(table("places"), "places"), "position_ids")
        )
    new, total = graph.size("input_ids", 1), graph.size("attention_mask", 1)
    before = graph.add("Sub", total, new)
    said = {"key": graph.add("Gather", graph.constant(table("keys"), "keys"), "input_ids"), "value": values}
    for kind, value in said.items():
        said[kind] = graph.heads(value)
        if cache:
            inputs[f"past_key_values.0.{kind}"] = _cache(kind, "past_sequence_length")
            outputs[f"present.0.{kind}"] = _cache(kind, "present_length")
            said[kind] = graph.add_to_cache(f"0.{kind}", said[kind], before, total)
    both = graph.add("Squeeze", graph.add("Add", *said.values()), graph.constant([1]))
    mask = graph.add("Unsqueeze", graph.add("Cast", "attention_mask", to=_FLOAT), graph.constant([2]))
    summed = graph.add("CumSum", graph.add("Mul", both, mask), graph.constant(1))
    if keep:
        inputs[LOGITS_TO_KEEP] = (_INT64, [])
        if keep == "optional":
            graph.constant(0, LOGITS_TO_KEEP)
        wanted = graph.add("Reshape", LOGITS_TO_KEEP, graph.constant([1]))
        new = graph.add("Where", graph.add("Equal", wanted, graph.constant([0])), new, wanted)
    graph.kept(summed, new)
    graph.save(path, inputs, outputs)


WRITINGS = ("scaled queries", "scaled scores", "divided scores", "no scale", "grouped heads", "length of the past")
OTHER_WRITINGS = ("bounded scores", "past read twice", "present read twice", "bias without rows", "rows of the state")
_HEADS, _HEAD_DIM = 2, 4


def write_attention_graph(path: Path, writing: str = WRITINGS[0], *, integers: int = _INT64) -> None:
    """Write a decoder-only graph with two layers of attention.

    Args:
        path: Its file.
        writing: How attention is written, one of WRITINGS, or of OTHER_WRITINGS, which are not that of the operator.
        integers: Element type of ids, masks and positions.
    """
    graph, draw = _Graph(), np.random.default_rng(0)
    kv_heads, width = 1 if writing == "grouped heads" else _HEADS, _HEADS * _HEAD_DIM

    def weights(*shape: int) -> str:
        return graph.constant(draw.standard_normal(shape, dtype=np.float32))

    def split(value: str, heads: int) -> str:
        return graph.add("Transpose", graph.add("Reshape", value, graph.constant([0, 0, heads, _HEAD_DIM])), perm=swap)

    swap = [0, 2, 1, 3]
    ids = (integers, ["batch_size", "sequence_length"])
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": (integers, ["batch_size", "total_length"])}
    inputs["position_ids"] = ids
    outputs: dict[str, Any] = {"logits": (_FLOAT, ["batch_size", "sequence_length", VOCABULARY])}
    pasts = {f"{layer}.{kind}": _FLOAT for layer in (0, 1) for kind in ("key", "value")}
    for name, kind in pasts.items():
        inputs[f"past_key_values.{name}"] = (kind, ["batch_size", kv_heads, "past_sequence_length", _HEAD_DIM])
        outputs[f"present.{name}"] = (kind, ["batch_size", kv_heads, "total_length", _HEAD_DIM])
    if writing == "rows of the state":
        inputs["beam_idx"] = (_INT64, ["batch_size"])

    total, new = graph.size("attention_mask", 1), graph.size("input_ids", 1)
    before = graph.add("Sub", total, new)
    if writing == "length of the past":
        before = graph.size("past_key_values.0.key", 2)
    zero, one = graph.constant(0), graph.constant(1)
    columns = graph.add("Range", zero, graph.add("Squeeze", total), one)
    places = graph.add("Add", graph.add("Range", zero, graph.add("Squeeze", new), one), before)
    seen = graph.add("LessOrEqual", columns, graph.add("Unsqueeze", places, graph.constant([1])))
    if writing != "bias without rows":
        kept = graph.add("Unsqueeze", graph.add("Cast", "attention_mask", to=_BOOL), graph.constant([1, 2]))
        seen = graph.add("And", seen, kept)
    lowest = graph.constant(np.float32(-1e9))
    bias = graph.add("Where", seen, graph.constant(np.float32(0)), lowest)

    hidden = graph.add("Gather", weights(VOCABULARY, width), "input_ids")
    hidden = graph.add("Add", hidden, graph.add("Gather", weights(LIMIT, width), "position_ids"))
    scale = graph.constant(np.float32(_HEAD_DIM**-0.5))
    for layer in (0, 1):
        query = split(graph.add("MatMul", hidden, weights(width, width)), _HEADS)
        if writing not in ("scaled scores", "divided scores", "no scale"):
            query = graph.add("Mul", query, scale)
        said = []
        for kind in ("key", "value"):
            states = split(graph.add("MatMul", hidden, weights(width, kv_heads * _HEAD_DIM)), kv_heads)
            past, present = f"past_key_values.{layer}.{kind}", f"present.{layer}.{kind}"
            graph.add("Concat", past, states, name=present, axis=2)
            if writing == "grouped heads":
                each = graph.add("Unsqueeze", present, graph.constant([2]))
                each = graph.add("Expand", each, graph.constant([1, 1, _HEADS, 1, 1]))
                present = graph.add("Reshape", each, graph.constant([0, _HEADS, -1, _HEAD_DIM]))
            said.append(present)
            read_twice = {"past read twice": past, "present read twice": present}.get(writing)
            if read_twice:
                bias = graph.add("Add", bias, graph.add("ReduceSum", read_twice, graph.constant([1, 2, 3])))
        scores = graph.add("MatMul", query, graph.add("Transpose", said[0], perm=[0, 1, 3, 2]))
        if writing == "scaled scores":
            scores = graph.add("Mul", scale, scores)
        if writing == "divided scores":
            scores = graph.add("Div", scores, graph.constant(np.float32(_HEAD_DIM**0.5)))
        if writing == "bounded scores":
            scores = graph.add("Tanh", scores)
        found = graph.add("MatMul", graph.add("Softmax", graph.add("Add", scores, bias), axis=-1), said[1])
        joined = graph.add("Reshape", graph.add("Transpose", found, perm=swap), graph.constant([0, 0, width]))
        hidden = graph.add("Add", hidden, joined)
    graph.add("MatMul", hidden, weights(width, VOCABULARY), name="logits")
    graph.save(path, inputs, outputs)


def write_seq2seq_graphs(
    folder: Path, *, cache: bool = True, grows: bool = False, source_rows: str = "batch_size", tokens: int | str = "new"
) -> None:
    """Write an encoder and a decoder.

    Args:
        folder: Where.
        cache: Whether the decoder has one; else it is one of optimum's that compute the whole text at each step.
        grows: Whether the decoder's past must have the size of its tokens; else it may be longer.
        source_rows: The name of the axis of the source's rows.
        tokens: How many tokens a step of the decoder takes.
    """
    graph = _Graph()
    states = graph.add("Gather", graph.constant(table("states"), "states"), "input_ids")
    mask = graph.add("Unsqueeze", graph.add("Cast", "attention_mask", to=_FLOAT), graph.constant([2]))
    graph.add("Mul", states, mask, name="last_hidden_state")
    ids = (_INT64, ["batch_size", "encoder_length"])
    hidden = (_FLOAT, ["batch_size", "encoder_length", VOCABULARY])
    graph.save(
        folder / f"{ENCODER}.onnx",
        {"input_ids": ids, "attention_mask": ids},
        {"last_hidden_state": hidden},
    )
    graph = _Graph()
    inputs: dict[str, Any] = {
        "input_ids": (_INT64, ["batch_size", tokens]),
        "encoder_attention_mask": (_INT64, [source_rows, "encoder_length"]),
        "encoder_hidden_states": (_FLOAT, [source_rows, "encoder_length", VOCABULARY]),
    }
    outputs: dict[str, Any] = {"logits": (_FLOAT, ["batch_size", "kept", VOCABULARY])}
    said = graph.heads(graph.add("Gather", graph.constant(table("keys"), "keys"), "input_ids"))
    source = graph.heads("encoder_hidden_states")
    new = graph.size("input_ids", 1)
    if cache:
        own, cross = "0.decoder.key", "0.encoder.key"
        inputs["use_cache_branch"] = (_BOOL, [1])
        inputs[f"past_key_values.{own}"] = _cache(own, "past_length")
        inputs[f"past_key_values.{cross}"] = _cache(cross, "past_encoder_length", source_rows)
        outputs[f"present.{own}"] = _cache(own, "present_length")
        outputs[f"present.{cross}"] = _cache(cross, "encoder_length", source_rows)
        before = graph.size(f"past_key_values.{own}", 2)
        if not grows:
            inputs[PAST_SEQUENCE_LENGTH] = (_INT64, [1])
            graph.constant([-1], PAST_SEQUENCE_LENGTH)
            is_given = graph.add("GreaterOrEqual", PAST_SEQUENCE_LENGTH, graph.constant([0]))
            before = graph.add("Where", is_given, PAST_SEQUENCE_LENGTH, before)
        said = graph.add_to_cache(own, said, before, graph.add("Add", before, new))
        # At the first step all states are new to the cache, and later none is.
        length = graph.size("encoder_hidden_states", 1)
        projected = graph.add("Where", "use_cache_branch", graph.constant([0]), length)
        states = graph.part(source, graph.constant([0]), projected, 2)
        source = graph.add("Concat", f"past_key_values.{cross}", states, name=f"present.{cross}", axis=2)
    mask = graph.add("Unsqueeze", graph.add("Cast", "encoder_attention_mask", to=_FLOAT), graph.constant([2]))
    masked = graph.add("Mul", graph.add("Squeeze", source, graph.constant([1])), mask)
    read = graph.add("ReduceSum", masked, graph.constant([1]), keepdims=1)
    summed = graph.add("CumSum", graph.add("Squeeze", said, graph.constant([1])), graph.constant(1))
    graph.kept(graph.add("Add", summed, read), new)
    graph.save(folder / f"{DECODER if cache else PLAIN_DECODER}.onnx", inputs, outputs)


def causal_bundle(
    folder: Path, *, shared: bool = False, exported: bool = False, limit: int | None = LIMIT, **graph: Any
) -> Bundle:
    """A bundle of the decoder-only graph; `shared` or `exported` as the exporter records it, else of another tool's.

    With a `writing` it is the graph with attention.
    """
    write = write_attention_graph if "writing" in graph else write_causal_graph
    write(folder / "onnx" / f"{MODEL}.onnx", **graph)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "max_position_embeddings": limit}
    return _finish(folder, config, "text-generation", "shared" if shared else "concatenated" * exported, limit)


def seq2seq_bundle(folder: Path, *, shared: bool = False, limit: int | None = LIMIT, **graphs: Any) -> Bundle:
    """A bundle of the encoder-decoder, likewise."""
    write_seq2seq_graphs(folder / "onnx", **graphs)
    config = {
        "model_type": "bart",
        "architectures": ["BartForConditionalGeneration"],
        "is_encoder_decoder": True,
        "max_position_embeddings": limit,
    }
    return _finish(folder, config, "text2text-generation", "shared" * shared, limit)


def _finish(folder: Path, config: Mapping[str, Any], task: str, cache: str, limit: int | None) -> Bundle:
    (folder / "config.json").write_text(json.dumps(config))
    if cache:
        files = tuple(entry(folder, path) for path in sorted((folder / "onnx").iterdir()))
        manifest = Manifest(
            task=task,
            source=Source("sums", None, config["architectures"][0]),
            versions={},
            machine="",
            max_length=limit,
            max_length_source="chosen",
            labels=(),
            default_dtype="fp32",
            variants={"fp32": Variant(files, {"name": "fp32", "cache": cache})},
            max_target_length=limit,
        )
        (folder / "edgepipe.json").write_text(manifest.to_json())
    return Bundle.load(folder)


def step_by_step(decoding: Any, ids: Any, news: Sequence[int]) -> NDArray[np.float32]:
    """The logits of each step, float32[rows, steps, vocabulary], which reads so many new tokens of each row."""
    ends = np.cumsum(news)
    steps = [decoding.step(ids[:, end - new : end]).copy() for new, end in zip(news, ends, strict=True)]
    return np.stack(steps, axis=1)
