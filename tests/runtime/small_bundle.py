"""A bundle written by hand: a bag-of-words graph whose logits numpy can check.

``logits[b] = sum over t of mask[b, t] * table[input_ids[b, t]]`` (and of a second table for ``token_type_ids``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgepipe.bundle.integrity import sha256
from edgepipe.bundle.layout import SUFFIXES
from edgepipe.bundle.manifest import FileEntry, Manifest, Parity, Source, Variant, digest_record

TOKENIZERS = Path(__file__).parents[1] / "data" / "tokenizers"
VOCABULARY = 900
LIMIT = 16
LABELS = ("bad", "fair", "good")


def word_table(dtype: str) -> NDArray[np.float32]:
    """What each token adds to the logits, float32[vocabulary, labels]; each dtype has its own, to be told apart."""
    generator = np.random.default_rng(list(SUFFIXES).index(dtype))
    return generator.standard_normal((VOCABULARY, len(LABELS)), dtype=np.float32)


def type_table() -> NDArray[np.float32]:
    """What each token type adds to the logits, float32[2, labels]."""
    return np.arange(2 * len(LABELS), dtype=np.float32).reshape(2, -1)


def expected_logits(
    dtype: str,
    input_ids: Sequence[Sequence[int]],
    attention_mask: Sequence[Sequence[int]] | None = None,
    token_type_ids: Sequence[Sequence[int]] | None = None,
) -> NDArray[np.float32]:
    """The logits by numpy; `token_type_ids` None for a graph that does not read them."""
    ids = np.asarray(input_ids)
    mask = np.ones(ids.shape) if attention_mask is None else np.asarray(attention_mask)
    words = word_table(dtype)[ids] + (0 if token_type_ids is None else type_table()[np.asarray(token_type_ids)])
    total: NDArray[np.float32] = (words * mask[..., None]).sum(axis=1).astype(np.float32)
    return total


def write_graph(
    path: Path,
    dtype: str = "fp32",
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    integers: int = TensorProto.INT64,
    external: bool = True,
) -> None:
    """Write the graph, and its weights beside it as ``<name>_data``.

    Args:
        path: The graph's file.
        dtype: Picks the table.
        inputs: Declared inputs: ``input_ids``, ``attention_mask``, ``token_type_ids``, or others that nothing makes.
        integers: Element type of the inputs.
        external: Whether the weights lie outside.
    """
    tables = {"words": word_table(dtype), "types": type_table()}
    nodes = [helper.make_node("Gather", ["words", "input_ids"], ["embedded"])]
    last = "embedded"
    if "token_type_ids" in inputs:
        nodes.append(helper.make_node("Gather", ["types", "token_type_ids"], ["typed"]))
        nodes.append(helper.make_node("Add", [last, "typed"], ["both"]))
        last = "both"
    else:
        del tables["types"]
    if "attention_mask" in inputs:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last_axis"], ["column"]),
            helper.make_node("Mul", [last, "column"], ["masked"]),
        ]
        last = "masked"
    nodes.append(helper.make_node("ReduceSum", [last, "token_axis"], ["logits"], keepdims=0))
    axes = {"last_axis": np.array([-1]), "token_axis": np.array([1])}
    shape = ["batch_size", "sequence_length"]
    graph = helper.make_graph(
        nodes,
        "bag_of_words",
        [helper.make_tensor_value_info(name, integers, shape) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", len(LABELS)])],
        [numpy_helper.from_array(array, name) for name, array in (tables | axes).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        model, path, save_as_external_data=external, location=f"{path.name}_data", size_threshold=64 if external else 0
    )


def write_foreign(
    folder: Path, *, config: dict[str, object] | None = None, tokenizer: str = "bert", limit: int = LIMIT
) -> None:
    """Write config and tokenizer, no graph and no manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    standard = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(index): label for index, label in enumerate(LABELS)},
        "max_position_embeddings": LIMIT,
    }
    (folder / "config.json").write_text(json.dumps(standard if config is None else config))
    for file in (TOKENIZERS / tokenizer).iterdir():
        shutil.copy(file, folder)
    settings_file = folder / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text()) | {"model_max_length": limit}
    settings_file.write_text(json.dumps(settings))


def write_bundle(
    folder: Path,
    dtypes: Sequence[str] = ("fp32",),
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    integers: int = TensorProto.INT64,
    task: str = "text-classification",
    max_length: int | None = LIMIT,
    config: dict[str, object] | None = None,
) -> Path:
    """Write a whole bundle, as the exporter lays it out; returns `folder`."""
    write_foreign(folder, config=config)
    for dtype in dtypes:
        write_graph(folder / "onnx" / f"model{SUFFIXES[dtype]}.onnx", dtype, inputs=inputs, integers=integers)
    shared = [folder / name for name in ("config.json", "tokenizer.json", "tokenizer_config.json")]
    manifest = Manifest(
        task=task,
        source=Source("bag-of-words", None, "BertForSequenceClassification"),
        versions={},
        machine="",
        max_length=max_length,
        max_length_source="chosen",
        labels=LABELS,
        default_dtype=dtypes[0],
        variants={
            dtype: Variant(
                tuple(
                    entry(folder, folder / "onnx" / f"model{SUFFIXES[dtype]}.onnx{ending}") for ending in ("", "_data")
                ),
                {"name": dtype},
            )
            for dtype in dtypes
        },
        files=tuple(entry(folder, path) for path in shared),
    )
    (folder / "edgepipe.json").write_text(manifest.to_json(), encoding="utf-8")
    return folder


def entry(folder: Path, path: Path) -> FileEntry:
    """The manifest's record of a file."""
    return FileEntry(path.relative_to(folder).as_posix(), path.stat().st_size, sha256(path))


def record_precision(folder: Path, dtype: str, parity: Parity | None = None, *, default: bool = False) -> None:
    """Record that fp32's graph was measured in a precision, as an export for OpenVINO does."""
    path = folder / "edgepipe.json"
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    variant = replace(manifest.variants["fp32"], recipe={"name": dtype}, parity=parity)
    variants = {**manifest.variants, dtype: variant}
    changed = replace(manifest, variants=variants, default_dtype=dtype if default else manifest.default_dtype)
    path.write_text(changed.to_json(), encoding="utf-8")


def flip_last_byte(path: Path) -> None:
    """Alter a file without changing its size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def rewrite_manifest(folder: Path, record: dict[str, Any]) -> None:
    """Write another manifest, with the digest that belongs to it."""
    record["manifest_sha256"] = digest_record({key: value for key, value in record.items() if key != "manifest_sha256"})
    (folder / "edgepipe.json").write_text(json.dumps(record), encoding="utf-8")
