"""The recipes, one line each: how a dtype's graphs are made from the fp32 ones.

To add one: a file with ``FACTS``, a small dataclass ``Options`` with defaults, and ``quantize(order, options)``, which
writes the graph with its weights beside it and returns the recipe for the manifest; and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.layout import graph_file
from edgepipe.errors import InputError
from edgepipe_export.quantization.recipe import Facts, Order
from edgepipe_export.quantization.target import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.quantization.weights.layers import Layer

# dtype: module in this package with a function `quantize`; it is imported when the recipe is first used.
RECIPES: dict[str, str] = {
    "int8": "int8",
    "int8-static": "int8_static",
    "w8": "w8",
    "q4": "q4",
    "q4f16": "q4f16",
    "fp16": "fp16",
}

FP32 = "fp32"


def dtype_names() -> list[str]:
    """Every dtype that can be exported."""
    return [FP32, *RECIPES]


def checked_dtypes(dtypes: Sequence[str] | str, target: Target | None = None) -> tuple[str, ...]:
    """The wanted dtypes, each once, in the order given.

    Args:
        dtypes: Names, or one text with commas.
        target: What they are for; None for anything.

    Raises:
        InputError: there is none, there is no recipe for one, or it is not for the target; the message names those that
            there are.
    """
    names = dtypes.split(",") if isinstance(dtypes, str) else list(dtypes)
    wanted = tuple(dict.fromkeys(name.strip() if isinstance(name, str) else name for name in names))
    for name in wanted:
        if name not in dtype_names():
            raise InputError(f"there is no recipe for dtype {name!r}; there is {', '.join(dtype_names())}")
        if target is not None and name != FP32 and target.name not in facts(name).targets:
            fitting = [other for other in dtype_names() if other == FP32 or target.name in facts(other).targets]
            raise InputError(f"{name} is not for the target {target.name}, which runs {', '.join(fitting)}")
    if not wanted:
        raise InputError(f"dtypes is empty; name at least one of {', '.join(dtype_names())}")
    return wanted


def graph_path(folder: Path, dtype: str, name: str = "model") -> Path:
    """Where a dtype's graph lies in a bundle."""
    return folder / "onnx" / graph_file(dtype, name)


def facts(dtype: str) -> Facts:
    """What a recipe declares about itself."""
    declared: Facts = _module(dtype).FACTS
    return declared


def default_options(dtype: str) -> Any:
    """A recipe's options, a frozen dataclass: ``dataclasses.replace`` makes others of them."""
    return _module(dtype).Options()


def find_layers(graph: Path) -> list[Layer]:
    """The layers of an fp32 graph: what every recipe can give precisions to one by one."""
    import onnx_ir

    from edgepipe_export.quantization.weights import layers

    return layers.find_layers(onnx_ir.load(graph))


def layers_of(dtype: str, graph: Path, options: Any = None) -> list[Layer]:
    """What a recipe can give precisions to one by one.

    Args:
        dtype: A key of :data:`RECIPES`.
        graph: The fp32 graph.
        options: The recipe's own, see :func:`default_options`.

    Returns:
        First operators without weights, where it quantizes some: they are few and can ruin most. Then the layers.
    """
    import onnx_ir

    more = getattr(_module(dtype), "more_layers", None)
    operators = [] if more is None else more(onnx_ir.load(graph), options or default_options(dtype))
    return [*operators, *find_layers(graph)]


def quantize(
    dtype: str,
    source: Path,
    destination: Path,
    target: Target,
    *,
    options: Any = None,
    precisions: Mapping[str, str] | None = None,
    batches: Sequence[Mapping[str, NDArray[Any]]] = (),
) -> Mapping[str, Any]:
    """Make the graph of a dtype.

    Args:
        dtype: A key of :data:`RECIPES`.
        source: The fp32 graph.
        destination: The graph to write; its weights go beside it.
        target: The processor it is for.
        options: The recipe's own, see :func:`default_options`.
        precisions: Layers that get another precision than the recipe's, by :attr:`Layer.name`: ``"w8"`` or ``"fp32"``,
            of those that the recipe's facts say it mixes; operators without weights ``"fp32"``.
        batches: Inputs to calibrate with, each a name -> array for every input of the graph; empty where the recipe
            needs none.

    Returns:
        The recipe, for the manifest; ``"precisions"`` in it has the layers that got another one.

    Raises:
        InputError: a precision is for a layer that is not there, or is none that this recipe mixes; or there are no
            batches and the recipe needs some.
    """
    order = Order(source, destination, target, dict(precisions or {}), batches)
    options = options or default_options(dtype)
    if order.precisions:
        _check_precisions(dtype, order, options)
    if facts(dtype).needs_batches and not batches:
        raise InputError(f"{dtype} must be calibrated, and there are no texts to do it with (--calibration FILE)")
    recipe: Mapping[str, Any] = _module(dtype).quantize(order, options)
    return {**recipe, "precisions": dict(order.precisions)} if order.precisions else recipe


def _check_precisions(dtype: str, order: Order, options: Any) -> None:
    known = {layer.name: layer for layer in layers_of(dtype, order.source, options)}
    for name, precision in order.precisions.items():
        mixes = (FP32,) if name in known and known[name].operators else facts(dtype).mixes
        if precision not in mixes:
            raise InputError(f"{dtype} cannot have the layer {name} in {precision!r}; it mixes with {', '.join(mixes)}")
        if name not in known:
            raise InputError(f"{order.source} has no layer {name!r}; it has {', '.join(sorted(known))}")


def _module(dtype: str) -> Any:
    return import_module(f"edgepipe_export.quantization.recipes.{RECIPES[dtype]}")
