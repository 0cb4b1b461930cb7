"""What transformers.js is told of the variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepipe_export.output.config import name_variants
from edgepipe_export.quantization.quantize import graph_path


def named(folder: Path, names: list[str], dtypes: list[str]) -> Any:
    name_variants(folder, names, dtypes)
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def test_variants_are_named_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"id2label": {"0": "größer"}}', encoding="utf-8")
    found = named(tmp_path, ["model"], ["int8", "fp32"])
    assert found == {
        "id2label": {"0": "größer"},
        "transformers.js_config": {
            "use_external_data_format": {"model_int8.onnx": 1, "model.onnx": 1},
            "dtype": "int8",
        },
    }
    assert "größer" in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_those_named_before_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    named(tmp_path, ["model"], ["int8", "fp32"])
    found = named(tmp_path, ["model"], ["fp32"])["transformers.js_config"]
    assert found == {"use_external_data_format": {"model.onnx": 1}, "dtype": "fp32"}


def write_graphs(folder: Path, **sizes: int) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "onnx").mkdir()
    for dtype, size in sizes.items():
        graph = graph_path(folder, dtype, "model")
        graph.write_bytes(b"g")
        graph.with_name(f"{graph.name}_data").write_bytes(b"w" * size)


def test_the_default_is_the_smallest_that_it_knows(tmp_path: Path) -> None:
    write_graphs(tmp_path, fp32=9, int8=4, q4=3, w8=1)
    assert named(tmp_path, ["model"], ["w8", "fp32", "int8", "q4"])["transformers.js_config"]["dtype"] == "q4"
    assert named(tmp_path, ["model"], ["fp32", "int8"])["transformers.js_config"]["dtype"] == "int8"
    assert "dtype" not in named(tmp_path, ["model"], ["w8"])["transformers.js_config"]


def test_the_default_is_one_that_passed_and_is_for_processors(tmp_path: Path) -> None:
    write_graphs(tmp_path, fp32=9, int8=4, q4=3, q4f16=1)

    def default(dtypes: list[str], passed: list[str]) -> Any:
        name_variants(tmp_path, ["model"], dtypes, passed)
        return json.loads((tmp_path / "config.json").read_text())["transformers.js_config"]["dtype"]

    assert default(["fp32", "int8", "q4", "q4f16"], ["fp32", "int8", "q4f16"]) == "int8"
    assert default(["fp32", "q4f16"], ["fp32", "q4f16"]) == "fp32"
    assert default(["q4f16"], ["q4f16"]) == "q4f16"
    assert default(["q4"], []) == "q4"  # written by force
