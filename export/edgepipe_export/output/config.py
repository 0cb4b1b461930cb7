"""The bundle's config.json and generation_config.json, and what transformers.js needs to find the weights."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe_export.quantization.quantize import graph_path, load_recipe
from edgepipe_export.quantization.recipe import CPU, FP32

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def write_config(model: PreTrainedModel, folder: Path) -> None:
    """Write config.json."""
    model.config.save_pretrained(folder)
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["dtype"] = "float32"
    path.write_text(json.dumps(content), encoding="utf-8")


def name_variants(
    folder: Path, names: Iterable[str], dtypes: Sequence[str], passed: Collection[str] | None = None
) -> None:
    """Name these variants, and no others, to transformers.js in config.json.

    It reads ``use_external_data_format``, for the file name of each graph the number of files that its weights are in,
    and takes ``dtype`` where it is asked for none; left to itself it looks for ``model_quantized.onnx`` in a browser.
    That is the smallest variant, since a page downloads it: of those that passed, and are for processors first.

    Args:
        folder: The bundle.
        names: Its graphs.
        dtypes: The variants, the default one first.
        passed: Those of them that passed; all by default.
    """
    names = tuple(names)
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    entry: dict[str, Any] = {
        "use_external_data_format": {graph_path(folder, dtype, name).name: 1 for dtype in dtypes for name in names}
    }
    known = [dtype for dtype in dtypes if is_in_transformers_js(dtype)]
    best = [dtype for dtype in known if passed is None or dtype in passed] or known
    best = [dtype for dtype in best if _is_for_processors(dtype)] or best
    sizes = {dtype: _count_bytes([graph_path(folder, dtype, name) for name in names]) for dtype in best}
    entry |= {"dtype": min(best, key=lambda dtype: sizes[dtype])} if best else {}
    content["transformers.js_config"] = entry
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_in_transformers_js(dtype: str) -> bool:
    """Whether transformers.js 4 has a name for a variant; asked for another, it loads what it has a name for."""
    return dtype == FP32 or load_recipe(dtype).in_transformers_js


def _is_for_processors(dtype: str) -> bool:
    return dtype == FP32 or load_recipe(dtype).providers[0] == CPU


def _count_bytes(graphs: Iterable[Path]) -> int:
    """The size of graphs and of the files with their weights."""
    return sum(path.stat().st_size for graph in graphs for path in graph.parent.glob(f"{graph.name}*"))


def write_generation_config(model: PreTrainedModel, folder: Path) -> None:
    """Write generation_config.json: the options that differ from transformers' defaults, as they are in use.

    Not with ``save_pretrained``, which refuses options that contradict each other; checkpoints have such, and
    ``generate`` takes them. Values of a model that has no such file are those that transformers reads from its config.
    """
    options = model.generation_config.to_diff_dict()
    text = json.dumps(options, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")
