"""The variants of a bundle while it is exported: files and manifest fit each other whatever is made or discarded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import DECODER, ENCODER, MODEL
from edgepipe.bundle.manifest import Manifest, Variant
from edgepipe.errors import VariantError
from edgepipe_export.output.cache import Cache
from edgepipe_export.output.workspace import Workspace, describe_variant
from edgepipe_export.quantization.quantize import default_options
from edgepipe_export.quantization.target import Target
from tests.conftest import Exported

TARGET = Target("vnni")
BATCHES = [{name: np.ones((2, 6), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}]


@pytest.fixture
def folder(tiny_export: Callable[..., Exported], tmp_path: Path) -> Path:
    """A bundle of fp32 alone, to be changed."""
    return Path(shutil.copytree(tiny_export("bert").bundle.path, tmp_path / "bundle"))


def manifest_of(folder: Path) -> Manifest:
    manifest = Bundle.load(folder).manifest
    assert manifest is not None
    return manifest


def take_over(folder: Path, **options: Any) -> Workspace:
    return Workspace(folder, manifest_of(folder), (MODEL,), TARGET, **options)


def files_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "onnx").iterdir()}


def test_a_variant_that_is_made_is_in_the_manifest(folder: Path) -> None:
    workspace = take_over(folder)
    workspace.make("w8")
    assert workspace.bundle.dtypes == ("fp32", "w8")
    assert manifest_of(folder) == workspace.manifest
    checked = {entry.path for entry in workspace.bundle.check()}
    assert {"onnx/model_w8.onnx", "onnx/model_w8.onnx_data"} <= checked
    assert workspace.manifest.variants["w8"].recipe["name"] == "w8"
    assert files_of(folder) == {f"model{suffix}.onnx{data}" for suffix in ("", "_w8") for data in ("", "_data")}


def test_a_variant_can_be_made_again_with_other_precisions(folder: Path) -> None:
    workspace = take_over(folder)
    workspace.make("w8")
    plain = workspace.manifest.variants["w8"]
    layer = max(workspace.layers("w8").values(), key=lambda layer: layer.size)
    workspace.make("w8", {layer.name: "fp32"}, note={"repair": {"attempts": 1}})
    mixed = workspace.manifest.variants["w8"]
    assert mixed.bytes > plain.bytes
    assert mixed.recipe["precisions"] == {layer.name: "fp32"}
    assert mixed.recipe["repair"] == {"attempts": 1}
    assert workspace.bundle.check()
    workspace.make("w8")
    assert workspace.manifest.variants["w8"] == plain


def test_a_trial_is_made_only_where_precisions_differ(folder: Path) -> None:
    root = folder.parent / "cache"
    workspace = take_over(folder, cache=Cache(root, "basis", min_seconds=0))
    layer = next(iter(workspace.layers("w8")))
    graph = folder / "onnx" / "model_w8.onnx"
    workspace.try_precisions("w8", {layer: "fp32"})
    made = graph.stat().st_mtime_ns
    workspace.try_precisions("w8", {layer: "fp32"})
    assert graph.stat().st_mtime_ns == made
    workspace.try_precisions("w8", {})
    assert graph.stat().st_mtime_ns != made
    assert not root.exists(), "trials are not cached"


def test_a_copy_stays_what_it_is(folder: Path) -> None:
    """Sessions that are timed in turns read their files while other variants take their place."""
    workspace = take_over(folder)
    layer = next(iter(workspace.layers("w8")))
    workspace.try_precisions("w8", {layer: "fp32"})
    mixed = workspace.manifest.variants["w8"]
    copy = workspace.copy("w8", folder / "onnx" / "copies" / "mixed")
    workspace.try_precisions("w8", {})
    assert copy.dtypes == ("w8",)
    assert copy.manifest is not None
    assert copy.manifest.variants["w8"] == mixed != workspace.manifest.variants["w8"]
    assert copy.check()
    assert files_of(copy.path) == {"model_w8.onnx", "model_w8.onnx_data"}


def test_a_graph_comes_from_the_cache(folder: Path) -> None:
    cache = Cache(folder.parent / "cache", "basis", min_seconds=0)
    workspace = take_over(folder, cache=cache)
    workspace.make("w8")
    first = workspace.manifest.variants["w8"]
    workspace.discard(["w8"])
    workspace.make("w8")
    assert (cache.misses, cache.hits) == (1, 1)
    assert workspace.manifest.variants["w8"] == first
    other = replace(default_options("w8"), block_size=64)
    take_over(folder, cache=cache, options={"w8": other}).make("w8")
    assert cache.misses == 2, "other options are another graph"


def test_what_is_discarded_is_gone_from_disk_and_manifest(folder: Path) -> None:
    workspace = take_over(folder)
    for dtype in ("w8", "q4"):
        workspace.make(dtype)
    workspace.discard(["w8"])
    assert workspace.bundle.dtypes == ("fp32", "q4")
    assert not any("w8" in name for name in files_of(folder))
    with pytest.raises(VariantError, match="has no such variant"):
        workspace.bundle.graph("w8")
    assert workspace.bundle.check()


def test_files_that_another_variant_reads_stay(folder: Path) -> None:
    workspace = take_over(folder)
    before = files_of(folder)
    workspace.make("bf16")
    assert workspace.manifest.variants["bf16"].files == workspace.manifest.variants["fp32"].files
    workspace.discard(["bf16"])
    assert list(workspace.manifest.variants) == ["fp32"]
    assert files_of(folder) == before


def test_what_decides_a_variant_is_in_its_key(folder: Path) -> None:
    workspace = take_over(folder)
    plain = workspace.key("w8")
    assert plain == workspace.key("w8", {})
    assert plain["dtype"] == "w8"
    layer = next(iter(workspace.layers("w8")))
    workspace.try_precisions("w8", {layer: "fp32"})
    assert workspace.key("w8") == workspace.key("w8", {layer: "fp32"}) != plain
    options = {"w8": replace(default_options("w8"), symmetric=False)}
    assert take_over(folder, options=options).key("w8") != plain
    assert take_over(folder, options=options).key("q4") == workspace.key("q4")


def test_only_calibrated_variants_are_told_of_the_calibration(folder: Path) -> None:
    told = {"inputs": 2, "data_sha256": "0"}
    workspace = take_over(folder, calibrated=told)
    workspace.batches = BATCHES
    assert {dtype: workspace.calibrates(dtype) for dtype in ("fp32", "w8", "int8-static")} == {
        "fp32": False,
        "w8": True,
        "int8-static": True,
    }
    assert workspace.key("w8")["calibrated"] == told
    workspace.make("w8")
    assert workspace.manifest.variants["w8"].recipe["calibrated"] == told
    assert "calibrated" not in take_over(folder).key("w8")


def test_a_graph_with_a_cache_reads_no_batches(folder: Path) -> None:
    manifest = manifest_of(folder)
    fp32 = manifest.variants["fp32"]
    cached = Variant(fp32.files, {**fp32.recipe, "cache": "shared", "window": 512})
    workspace = Workspace(folder, replace(manifest, variants={"fp32": cached}), (MODEL,), TARGET)
    assert not workspace.calibrates("w8")
    assert workspace.calibrates("int8-static"), "it cannot do without"
    workspace.make("w8")
    recipe = workspace.manifest.variants["w8"].recipe
    assert (recipe["cache"], recipe["window"]) == ("shared", 512)


def test_layers_of_several_graphs_are_told_apart(folder: Path) -> None:
    alone, onnx = list(take_over(folder).layers("w8")), folder / "onnx"
    for name in (ENCODER, DECODER):  # two copies, which read their weights from the file of the one
        for ending in ("", "_data"):
            shutil.copy(onnx / f"model.onnx{ending}", onnx / f"{name}.onnx{ending}")
    manifest = manifest_of(folder)
    files = describe_variant(folder, "fp32", (ENCODER, DECODER))
    assert [Path(entry.path).name for entry in files] == [
        f"{name}.onnx{ending}" for name in (ENCODER, DECODER) for ending in ("", "_data")
    ]
    fp32 = Variant(files, manifest.variants["fp32"].recipe)
    workspace = Workspace(folder, replace(manifest, variants={"fp32": fp32}), (ENCODER, DECODER), TARGET)
    assert list(workspace.layers("w8")) == [f"{graph}:{layer}" for graph in (ENCODER, DECODER) for layer in alone]
    chosen = {f"{DECODER}:{alone[0]}": "fp32"}
    workspace.make("w8", chosen)
    recipe = workspace.manifest.variants["w8"].recipe
    assert (recipe["name"], recipe["precisions"]) == ("w8", chosen)
    sizes = [(onnx / f"{name}_w8.onnx_data").stat().st_size for name in (ENCODER, DECODER)]
    assert sizes[0] < sizes[1], "a layer of the decoder alone is larger"
