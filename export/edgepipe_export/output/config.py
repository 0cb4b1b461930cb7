"""The bundle's config.json and generation_config.json, and what transformers.js needs to find the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe_export.quantization.quantize import graph_path, load_recipe
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def write_config(model: PreTrainedModel, folder: Path) -> None:
    """Write config.json."""
    model.config.save_pretrained(folder)
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["dtype"] = "float32"
    path.write_text(json.dumps(content), encoding="utf-8")


def name_variants(folder: Path, names: Iterable[str], dtypes: Sequence[str]) -> None:
    """Name these variants, and no others, to transformers.js in config.json.

    It reads ``use_external_data_format``, for the file name of each graph the number of files that its weights are in,
    and takes ``dtype`` where it is asked for none; left to itself it looks for ``model_quantized.onnx`` in a browser.

    Args:
        folder: The bundle.
        names: Its graphs.
        dtypes: The variants, the default one first.
    """
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    entry: dict[str, Any] = {
        "use_external_data_format": {graph_path(folder, dtype, name).name: 1 for dtype in dtypes for name in names}
    }
    # Of the others transformers.js 4 knows no suffix.
    known = [dtype for dtype in dtypes if dtype == FP32 or load_recipe(dtype).in_transformers_js]
    content["transformers.js_config"] = entry | ({"dtype": known[0]} if known else {})
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_generation_config(model: PreTrainedModel, folder: Path) -> None:
    """Write generation_config.json: the options that differ from transformers' defaults, as they are in use.

    Not with ``save_pretrained``, which refuses options that contradict each other; checkpoints have such, and
    ``generate`` takes them. Values of a model that has no such file are those that transformers reads from its config.
    """
    options = model.generation_config.to_diff_dict()
    text = json.dumps(options, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")
