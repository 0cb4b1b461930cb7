"""The table of recipes: every recipe is complete, and of one that is not it is said what is missing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgepipe.bundle import layout
from edgepipe.errors import ExportError
from edgepipe_export.quantization.quantize import RECIPES, find_missing_entries, load_recipe, quantize
from edgepipe_export.quantization.recipe import CPU, CUDA, QuantizationJob, Recipe
from edgepipe_export.quantization.target import TARGETS, Target


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """The options of a recipe that does nothing."""

    times: int = 1


def copy_graph(job: QuantizationJob, options: CopyOptions) -> Mapping[str, Any]:
    job.destination.write_bytes(job.source.read_bytes() * options.times)
    return {"name": "copy"}


def register(monkeypatch: pytest.MonkeyPatch, providers: tuple[str, ...]) -> None:
    module = ModuleType("copy_recipe")
    recipe = Recipe("copy", CopyOptions, copy_graph, providers, ("vnni",))
    module.RECIPE = recipe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(RECIPES, "copy", module.__name__)


@pytest.mark.parametrize("dtype", RECIPES)
def test_every_recipe_is_complete(dtype: str) -> None:
    assert find_missing_entries(dtype) == []
    recipe = load_recipe(dtype)
    assert recipe.options().__dataclass_params__.frozen
    assert set(recipe.targets) <= set(TARGETS)
    assert set(recipe.providers) <= {CPU, CUDA}
    assert ("cuda" in recipe.targets) == (CUDA in recipe.providers)


def test_a_new_recipe_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, (CPU, CUDA))
    with pytest.raises(ExportError, match=r"recipe copy is not complete: .*bundle.layout.SUFFIXES; it runs on CUDA"):
        load_recipe("copy")
    register(monkeypatch, (CPU,))
    with pytest.raises(ExportError, match=r"it does not run on CUDA, and .*backend.onnxruntime.providers"):
        load_recipe("copy")


def test_a_new_recipe_is_a_file_and_its_entries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgepipe.backend.session import DeviceProfile
    from edgepipe_export.quantization import quantize as table

    register(monkeypatch, (CPU,))
    monkeypatch.setitem(layout.SUFFIXES, "copy", "_copy")
    profile = DeviceProfile(unsupported_variants=("copy",))
    monkeypatch.setattr(table, "device_profile", lambda config: profile)
    source = tmp_path / "source.onnx"
    source.write_bytes(b"graph")
    target = Target("vnni")
    assert table.check_dtypes("copy", target) == ("copy",)
    destination = table.graph_path(tmp_path, "copy")
    destination.parent.mkdir()
    assert quantize("copy", source, destination, target, options=CopyOptions(2)) == {"name": "copy"}
    assert (tmp_path / "onnx" / "model_copy.onnx").read_bytes() == b"graphgraph"
