"""The bundle's config.json and generation_config.json, and what transformers.js needs to find the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepipe_export.quantize import graph_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def write_config(model: PreTrainedModel, folder: Path, dtypes: Iterable[str]) -> None:
    """Write config.json.

    transformers.js 4 reads ``use_external_data_format``: for the file name of each graph, the number of files that
    its weights are in.
    """
    model.config.save_pretrained(folder)
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["dtype"] = "float32"
    path.write_text(json.dumps(content), encoding="utf-8")
    name_weights(folder, dtypes)


def name_weights(folder: Path, dtypes: Iterable[str]) -> None:
    """Say in config.json where the weights of these variants are, and of no others."""
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    files = {graph_path(folder, dtype).name: 1 for dtype in dtypes}
    content["transformers.js_config"] = {"use_external_data_format": files}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_generation_config(model: PreTrainedModel, folder: Path) -> None:
    """Write generation_config.json: the options that differ from transformers' defaults, as they are in use.

    Not with ``save_pretrained``, which refuses options that contradict each other; checkpoints have such, and
    ``generate`` takes them. Values of a model that has no such file are those that transformers reads from its config.
    """
    options = model.generation_config.to_diff_dict()
    text = json.dumps(options, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")
