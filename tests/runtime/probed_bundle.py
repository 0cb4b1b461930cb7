"""The bundle written by hand, with probes as the exporter records them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgepipe import Bundle
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.layout import PROBES_NAME, graph_file
from edgepipe.bundle.manifest import Manifest
from edgepipe.checking.probe_runs import compute_rows, decode_made_up, describe_machine, encode_inputs, sketch_rows
from edgepipe.checking.probes import Probe, Probes
from edgepipe.pipelines.task_loading import load_task
from tests.runtime.small_bundle import entry, write_bundle

TEXTS = ("a b c", "one two", "x y z w", "a", "two three four", "z z z")
OPTIONS = {"top_k": None}


def write_probed_bundle(folder: Path, dtypes: Sequence[str] = ("fp32", "int8")) -> Path:
    """Write a bundle with probes; returns `folder`. The first variants are fp32."""
    bundle = Bundle.load(write_bundle(folder, dtypes))
    outputs, machines = {}, {}
    for dtype in dtypes:
        task = load_task(None, bundle, dtype, SessionConfig())
        probes = [Probe("plain", (text,), encode_inputs(task, [text], OPTIONS)) for text in TEXTS]
        rows = [compute_rows(task, probe) for probe in probes]
        probes = [
            replace(probe, results=decode_made_up(task, probe, each, OPTIONS))
            for probe, each in zip(probes, rows, strict=True)
        ]
        outputs[dtype] = tuple(map(sketch_rows, rows))
        machines[dtype] = describe_machine(task, SessionConfig())
    made = Probes(
        "text-classification", OPTIONS, "built-in", tuple(probes), outputs, machines, dict.fromkeys(dtypes, 1e-4)
    )
    (folder / PROBES_NAME).write_text(made.to_json(), encoding="utf-8")
    sign(folder)
    return folder


def sign(folder: Path) -> None:
    """Have the manifest name the files as they are now, and the probes where they are there."""
    path = folder / "edgepipe.json"
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    names = dict.fromkeys([*(each.path for each in manifest.files), PROBES_NAME])
    variants = {
        dtype: replace(variant, files=tuple(entry(folder, folder / each.path) for each in variant.files))
        for dtype, variant in manifest.variants.items()
    }
    files = tuple(entry(folder, folder / name) for name in names if (folder / name).is_file())
    path.write_text(replace(manifest, files=files, variants=variants).to_json(), encoding="utf-8")


def turn_weights(folder: Path, dtype: str, value: float = -1.0) -> None:
    """Multiply the weights of a variant, in a bundle whose manifest fits them."""
    path = folder / "onnx" / graph_file(dtype)
    model = onnx.load(path)
    [tensor] = [each for each in model.graph.initializer if each.name == "words"]
    tensor.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(tensor) * np.float32(value)), "words"))
    path.with_name(f"{path.name}_data").unlink()
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}_data", size_threshold=64)
    sign(folder)


def turn_labels(folder: Path) -> None:
    """Turn the order of the labels, likewise."""
    config = json.loads((folder / "config.json").read_text())
    labels = list(config["id2label"].values())
    config["id2label"] = {str(index): label for index, label in enumerate(reversed(labels))}
    (folder / "config.json").write_text(json.dumps(config))
    sign(folder)
