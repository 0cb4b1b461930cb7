"""The table of recipes, and what is done with one: how a dtype's graphs are made from the fp32 ones.

To add a recipe:

1. A file in ``recipes/`` with a :class:`~edgepipe_export.quantization.recipe.Recipe` called ``RECIPE``.
2. A line in :data:`RECIPES`.
3. The suffix of its files in the runtime's table, :data:`edgepipe.bundle.layout.SUFFIXES`.
4. Whether CUDA runs it, in the profile of that device (:mod:`edgepipe.backend.onnxruntime.providers`).

:func:`find_missing_entries` says which of these is still missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.backend.engines import device_profile
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.layout import GRAPH_FOLDER, MODEL, STORED_AS, SUFFIXES, graph_file
from edgepipe.errors import ExportError, InputError
from edgepipe_export.quantization.recipe import CUDA, FP32, QuantizationJob, Recipe
from edgepipe_export.quantization.target import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.quantization.int8_cache.cache_scales import CacheScales
    from edgepipe_export.quantization.weights.layers import Layer

# dtype: the module with its recipe, which is imported when the recipe is first used.
RECIPES: dict[str, str] = {
    "int8": "edgepipe_export.quantization.recipes.int8",
    "int8-rows": "edgepipe_export.quantization.recipes.int8_rows",
    "int8-static": "edgepipe_export.quantization.recipes.int8_static",
    "w8": "edgepipe_export.quantization.recipes.w8",
    "q4": "edgepipe_export.quantization.recipes.q4",
    "w8-rows": "edgepipe_export.quantization.recipes.w8_rows",
    "q4-rows": "edgepipe_export.quantization.recipes.q4_rows",
    "q4f16": "edgepipe_export.quantization.recipes.q4f16",
    "fp16": "edgepipe_export.quantization.recipes.fp16",
    "bf16": "edgepipe_export.quantization.recipes.bf16",
}


def load_recipe(dtype: str) -> Recipe:
    """The recipe of a dtype, a key of :data:`RECIPES`.

    Raises:
        ExportError: it is not complete; the message names what is missing.
    """
    missing = find_missing_entries(dtype)
    if missing:
        raise ExportError(f"the recipe {dtype} is not complete: {'; '.join(missing)}")
    return _import_recipe(dtype)


def find_missing_entries(dtype: str) -> list[str]:
    """What a recipe still lacks of the list above, in words."""
    recipe = _import_recipe(dtype)
    missing = []
    if recipe.dtype != dtype:
        missing.append(f"its RECIPE is called {recipe.dtype!r}")
    if dtype not in (*SUFFIXES, *STORED_AS):
        missing.append("there is no suffix for its files in edgepipe.bundle.layout.SUFFIXES")
    cuda = device_profile(SessionConfig(device="cuda"))
    runs, variants = (
        ("runs", cuda.preferred_variants) if CUDA in recipe.providers else ("does not run", cuda.unsupported_variants)
    )
    if dtype not in variants:
        missing.append(f"it {runs} on CUDA, and the profile in edgepipe.backend.onnxruntime.providers does not say so")
    return missing


def _import_recipe(dtype: str) -> Recipe:
    recipe: Recipe = import_module(RECIPES[dtype]).RECIPE
    return recipe


def list_dtypes() -> list[str]:
    """Every dtype that can be exported."""
    return [FP32, *RECIPES]


def check_dtypes(dtypes: Sequence[str] | str, target: Target | None = None) -> tuple[str, ...]:
    """The wanted dtypes, each once, in the order given, and those that they are stored as.

    Args:
        dtypes: Names, or one text with commas.
        target: What they are for; None for anything.

    Raises:
        DeviceError: this processor does not compute in one.
        InputError: there is none, there is no recipe for one, or it is not for the target; the message names those that
            there are.
    """
    names = dtypes.split(",") if isinstance(dtypes, str) else list(dtypes)
    wanted = tuple(dict.fromkeys(name.strip() if isinstance(name, str) else name for name in names))
    for name in wanted:
        if name not in list_dtypes():
            raise InputError(f"there is no recipe for dtype {name!r}; there is {', '.join(list_dtypes())}")
        if target is not None and not _is_for(name, target):
            others = [other for other in list_dtypes() if _is_for(other, target)]
            raise InputError(f"{name} is not for the target {target.name}, which runs {', '.join(others)}")
        if target is not None:
            target.check_precision(name)
    if not wanted:
        raise InputError(f"dtypes is empty; name at least one of {', '.join(list_dtypes())}")
    return add_stored(wanted)


def add_stored(dtypes: Sequence[str]) -> tuple[str, ...]:
    """Some dtypes, with those behind them whose files they read."""
    return tuple(dict.fromkeys((*dtypes, *(STORED_AS[name] for name in dtypes if name in STORED_AS))))


def _is_for(dtype: str, target: Target) -> bool:
    return dtype == FP32 or target.name in load_recipe(dtype).targets


def graph_path(folder: Path, dtype: str, name: str = MODEL) -> Path:
    """Where a dtype's graph lies in a bundle."""
    return folder / GRAPH_FOLDER / graph_file(dtype, name)


def default_options(dtype: str) -> Any:
    """A recipe's options, a frozen dataclass: ``dataclasses.replace`` makes others of them."""
    return load_recipe(dtype).options()


def find_layers(graph: Path, dtype: str | None = None, options: Any = None) -> list[Layer]:
    """What can have a precision of its own in a variant.

    Args:
        graph: The fp32 graph.
        dtype: The variant, a key of :data:`RECIPES`; None for what every recipe has.
        options: The recipe's own, see :func:`default_options`.

    Returns:
        First the recipe's operators without weights, where it quantizes some: they are few and can ruin most. Then the
        layers with weights.
    """
    import onnx_ir

    from edgepipe_export.quantization.weights import layers

    model = onnx_ir.load(graph)
    recipe = None if dtype is None else load_recipe(dtype)
    operators: list[Layer] = []
    if recipe is not None and recipe.find_operators is not None:
        operators = recipe.find_operators(model, options or recipe.options())
    return [*operators, *layers.find_layers(model)]


def quantize(
    dtype: str,
    source: Path,
    destination: Path,
    target: Target,
    *,
    options: Any = None,
    precisions: Mapping[str, str] | None = None,
    batches: Sequence[Mapping[str, NDArray[Any]]] = (),
    cache_scales: CacheScales | None = None,
) -> Mapping[str, Any]:
    """Make the graph of a dtype.

    Args:
        dtype: A key of :data:`RECIPES`.
        source: The fp32 graph.
        destination: The graph to write; its weights go beside it.
        target: The processor it is for.
        options: The recipe's own, see :func:`default_options`.
        precisions: Layers that get another precision than the recipe's, by :attr:`Layer.name`: one of the recipe's
            ``mixes``; operators without weights ``"fp32"``.
        batches: Inputs to calibrate with, each a name -> array for every input of the graph; empty where the recipe
            needs none.
        cache_scales: What keys and values are rounded by, of a decoder whose cache is kept in 8 bits.

    Returns:
        The recipe, for the manifest; ``"precisions"`` in it has the layers that got another one.

    Raises:
        InputError: a precision is for a layer that is not there, or is none that this recipe mixes; or there are no
            batches and the recipe needs some.
    """
    recipe = load_recipe(dtype)
    job = QuantizationJob(source, destination, target, dict(precisions or {}), batches)
    options = options or recipe.options()
    if job.precisions:
        _check_precisions(recipe, job, options)
    if recipe.needs_batches and not batches:
        raise InputError(f"{dtype} must be calibrated, and there are no texts to do it with (--calibration FILE)")
    described = recipe.quantize(job, options)
    if cache_scales is not None:
        from edgepipe_export.quantization.int8_cache.quantize_cache import quantize_cache

        quantize_cache(destination, cache_scales.scales)
        described = {**described, "kv_cache": cache_scales.describe()}
    return {**described, "precisions": dict(job.precisions)} if job.precisions else described


def _check_precisions(recipe: Recipe, job: QuantizationJob, options: Any) -> None:
    layers = {layer.name: layer for layer in find_layers(job.source, recipe.dtype, options)}
    for name, precision in job.precisions.items():
        mixes = (FP32,) if name in layers and layers[name].operators else recipe.mixes
        if precision not in mixes:
            raise InputError(
                f"{recipe.dtype} cannot have the layer {name} in {precision!r}; it mixes with {', '.join(mixes)}"
            )
        if name not in layers:
            raise InputError(f"{job.source} has no layer {name!r}; it has {', '.join(sorted(layers))}")
