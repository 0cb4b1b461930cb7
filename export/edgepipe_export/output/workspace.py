"""The variants of a bundle while it is exported: each from the fp32 graphs, in a manifest that fits the files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import GRAPH_FOLDER, MANIFEST_NAME
from edgepipe.bundle.manifest import FileEntry, Manifest, Variant
from edgepipe.errors import ParityError
from edgepipe_export.output.atomic_write import describe_file, describe_shared_files
from edgepipe_export.output.cache import Cache
from edgepipe_export.output.config import name_variants
from edgepipe_export.quantization.int8_cache.cache_dtype import has_int8_cache
from edgepipe_export.quantization.quantize import default_options, find_layers, graph_path, load_recipe, quantize
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.quantization.int8_cache.cache_scales import CacheScales
    from edgepipe_export.quantization.target import Target
    from edgepipe_export.quantization.weights.layers import Layer

    Batches = Sequence[Mapping[str, NDArray[Any]]]


class Workspace:
    """A folder with the fp32 graphs, where variants are made, made again, and discarded.

    Attributes:
        folder: The folder.
        manifest: Its manifest, as written.
        names: The names of each variant's graphs.
        cache: What was made and measured before.
        batches: What recipes are calibrated with: inputs of the fp32 graph.
        cache_scales: What decoders' keys and values are rounded by; None where they stay in fp32.
        failed: Why variants could not be made, by dtype.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        names: Sequence[str],
        target: Target,
        cache: Cache | None = None,
        options: Mapping[str, Any] | None = None,
        calibrated: Mapping[str, Any] | None = None,
    ) -> None:
        """Take over a folder.

        Args:
            folder: The folder, with the fp32 graphs and all shared files.
            manifest: What is in it, without variants but fp32.
            names: The names of the graphs.
            target: The processor that variants are for.
            cache: What was made and measured before; by default nothing.
            options: Options of recipes that are to have others than their own, by dtype.
            calibrated: What recipes that are calibrated say of the batches.
        """
        self.folder = folder
        self.manifest = manifest
        self.names = tuple(names)
        self.cache = cache or Cache()
        self._target = target
        self.batches: Batches = ()
        self.cache_scales: CacheScales | None = None
        self.failed: dict[str, str] = {}
        self._precisions: dict[str, Mapping[str, str]] = {}
        self._options = dict(options or {})
        self._calibrated = dict(calibrated or {})
        self._write()

    @property
    def bundle(self) -> Bundle:
        """The folder as it is now."""
        return Bundle.load(self.folder)

    def key(self, dtype: str, precisions: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What decides a variant, beside what the whole cache depends on: as it is now, or with these precisions."""
        mixed = self._precisions.get(dtype, {}) if precisions is None else precisions
        return {
            "dtype": dtype,
            "options": asdict(self._options.get(dtype) or default_options(dtype)),
            "precisions": dict(mixed),
            **({"kv_cache": self.cache_scales.describe()} if self.cache_scales and has_int8_cache(dtype) else {}),
            **self._calibration_note(dtype),
        }

    def quantizes_cache(self, dtype: str) -> bool:
        """Whether a variant's keys and values are kept in 8 bits."""
        return self.cache_scales is not None and has_int8_cache(dtype)

    def calibrates(self, dtype: str) -> bool:
        """Whether a variant is made with the batches."""
        # What generates has a cache, and its graphs do not read a text at once.
        has_cache = "cache" in self.manifest.variants[FP32].recipe
        return dtype != FP32 and (
            load_recipe(dtype).needs_batches or (load_recipe(dtype).uses_batches and not has_cache)
        )

    def is_fitted(self, dtype: str) -> bool:
        """Whether a variant depends on what recipes are calibrated with: on the batches, or on the cache's scales."""
        return self.calibrates(dtype) or self.quantizes_cache(dtype)

    def _calibration_note(self, dtype: str) -> dict[str, Any]:
        return {"calibrated": self._calibrated} if self._calibrated and self.is_fitted(dtype) else {}

    def try_precisions(self, dtype: str, precisions: Mapping[str, str]) -> None:
        """Make a variant with these precisions where it has others; it is a trial, and not cached."""
        if self._precisions.get(dtype) != precisions:
            self._record(dtype, precisions, self._quantize(dtype, precisions))

    def copy(self, dtype: str, folder: Path) -> Bundle:
        """Copy a variant as it is now into a bundle of its own: a session reads its files while others are made.

        Args:
            dtype: The variant.
            folder: The folder to write; it must not exist.
        """
        variant = self.manifest.variants[dtype]
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(GRAPH_FOLDER))
        for entry in variant.files:
            (folder / entry.path).parent.mkdir(exist_ok=True)
            shutil.copy2(self.folder / entry.path, folder / entry.path)
        return self._describe_copy(folder, dtype, variant)

    def copy_with_fp32_cache(self, dtype: str, folder: Path) -> Bundle:
        """Make a variant as it is now, but for its cache, in a bundle of its own.

        Args:
            dtype: The variant.
            folder: The folder to write; it must not exist.
        """
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(GRAPH_FOLDER))
        (folder / GRAPH_FOLDER).mkdir()
        recipe = self._quantize(dtype, self._precisions.get(dtype, {}), folder, with_cache=False)
        return self._describe_copy(folder, dtype, Variant(describe_variant(folder, dtype, self.names), recipe))

    def _describe_copy(self, folder: Path, dtype: str, variant: Variant) -> Bundle:
        manifest = replace(self.manifest, variants={dtype: variant}, default_dtype=dtype)
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        return Bundle.load(folder)

    def make(
        self, dtype: str, precisions: Mapping[str, str] | None = None, note: Mapping[str, Any] | None = None
    ) -> None:
        """Make a variant, in place of one that is there; one that its recipe finds wrong is :attr:`failed`.

        Args:
            dtype: Its dtype.
            precisions: Layers that get another precision than the recipe's, as :meth:`layer_key` names them.
            note: What else its recipe in the manifest says.
        """
        mixed = precisions or {}
        paths = [graph_path(self.folder, dtype, name) for name in self.names]
        try:
            recipe = self.cache.files(
                {"what": "graphs", **self.key(dtype, mixed)},
                paths[0].parent,
                [path.name for path in paths],
                lambda: self._quantize(dtype, mixed),
            )
        except ParityError as error:
            self.failed[dtype] = str(error)
            for path in (each for graph in paths for each in graph.parent.glob(f"{graph.name}*")):
                path.unlink()
            return
        self._record(dtype, mixed, {**recipe, **(note or {})})

    def _quantize(
        self, dtype: str, precisions: Mapping[str, str], folder: Path | None = None, *, with_cache: bool = True
    ) -> Mapping[str, Any]:
        """Write the graphs, into this folder or another one, their cache as it is to be or in fp32; their recipe."""
        traced = self.manifest.variants[FP32].recipe
        batches = self.batches if self.calibrates(dtype) else ()
        recipes = {
            name: quantize(
                dtype,
                graph_path(self.folder, FP32, name),
                graph_path(folder or self.folder, dtype, name),
                self._target,
                options=self._options.get(dtype),
                precisions=self._own_precisions(name, precisions),
                batches=batches,
                cache_scales=self.cache_scales if with_cache and self.quantizes_cache(dtype) else None,
            )
            for name in self.names
        }
        # Precisions are recorded once, by the names that layers have among those of all graphs.
        plain = {name: {key: each[key] for key in each if key != "precisions"} for name, each in recipes.items()}
        first, *others = plain.values()
        recipe = first if all(other == first for other in others) else {"name": dtype, "graphs": plain}
        # A decoder whose attention a recipe decomposed has another cache than the one that was traced.
        cache = [each["cache"] for each in (traced, *recipes.values()) if "cache" in each][-1:]
        own = {**({"cache": cache[0]} if cache else {}), **({"window": traced["window"]} if "window" in traced else {})}
        mixed = {"precisions": dict(precisions)} if precisions else {}
        return {**own, **recipe, **mixed, **self._calibration_note(dtype)}

    def _record(self, dtype: str, precisions: Mapping[str, str], recipe: Mapping[str, Any]) -> None:
        self._precisions[dtype] = dict(precisions)
        variants = {**self.manifest.variants, dtype: Variant(describe_variant(self.folder, dtype, self.names), recipe)}
        self.record(replace(self.manifest, variants=variants))

    def layers(self, dtype: str) -> dict[str, Layer]:
        """The layers of all graphs that can have a precision of their own in a variant, as :meth:`make` calls them."""
        return {
            self.layer_key(name, layer.name): layer
            for name in self.names
            for layer in find_layers(graph_path(self.folder, FP32, name), dtype, self._options.get(dtype))
        }

    def layer_key(self, graph: str, layer: str) -> str:
        """What a layer is called among those of all graphs: its name, behind its graph's where there are several."""
        return layer if len(self.names) == 1 else f"{graph}:{layer}"

    def _own_precisions(self, graph: str, precisions: Mapping[str, str]) -> dict[str, str]:
        if len(self.names) == 1:
            return dict(precisions)
        return {
            key.removeprefix(f"{graph}:"): value for key, value in precisions.items() if key.startswith(f"{graph}:")
        }

    def discard(self, dtypes: Sequence[str]) -> None:
        """Remove variants, and the files that no other one reads."""
        left = {dtype: variant for dtype, variant in self.manifest.variants.items() if dtype not in dtypes}
        read = {entry.path for variant in left.values() for entry in variant.files}
        discarded = {entry.path for dtype in dtypes for entry in self.manifest.variants[dtype].files}
        for path in discarded - read:
            (self.folder / path).unlink()
        self.record(replace(self.manifest, variants=left))

    def name_variants(self, dtypes: Sequence[str]) -> None:
        """Name these variants to other tools, and no others, the default one first."""
        parity = {dtype: self.manifest.variants[dtype].parity for dtype in dtypes}
        passed = [dtype for dtype, measured in parity.items() if measured is None or measured.passed]
        name_variants(self.folder, self.names, dtypes, passed)
        self.record(replace(self.manifest, files=describe_shared_files(self.folder)))

    def record(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        self.manifest = manifest
        self._write()

    def _write(self) -> None:
        (self.folder / MANIFEST_NAME).write_text(self.manifest.to_json(), encoding="utf-8")


def describe_variant(folder: Path, dtype: str, names: Sequence[str]) -> tuple[FileEntry, ...]:
    """The entries of a variant's graphs and weights."""
    graphs = [graph_path(folder, dtype, name) for name in names]
    return tuple(
        describe_file(folder, path) for graph in graphs for path in sorted(graph.parent.glob(f"{graph.name}*"))
    )
