"""What transformers.js is told of the variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepipe_export.output.config import name_variants


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


def test_the_default_is_the_first_that_it_knows(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert named(tmp_path, ["model"], ["w8", "q4", "fp32"])["transformers.js_config"]["dtype"] == "q4"
    assert "dtype" not in named(tmp_path, ["model"], ["w8"])["transformers.js_config"]
