"""The recipes, one line each: how a dtype's graphs are made from the fp32 ones.

To add one: a file with a function that takes the fp32 graph, the path to write and a :class:`Target`, writes the graph
with its weights beside it, and returns the recipe for the manifest; and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from edgepipe.bundle import SUFFIXES
from edgepipe.errors import InputError
from edgepipe_export.quantize.target import Target

# dtype: module in this package with a function `quantize`; it is imported when the recipe is first used.
RECIPES: dict[str, str] = {
    "int8": "int8",
}

FP32 = "fp32"

# How many of a hundred texts may get another label from a quantized variant than from fp32.
DEFAULT_MAX_DROP = 5.0


def dtype_names() -> list[str]:
    """Every dtype that can be exported."""
    return [FP32, *RECIPES]


def checked_dtypes(dtypes: Sequence[str] | str) -> tuple[str, ...]:
    """The wanted dtypes, each once, in the order given.

    Raises:
        InputError: there is none, or there is no recipe for one; the message names those there are.
    """
    names = dtypes.split(",") if isinstance(dtypes, str) else list(dtypes)
    wanted = tuple(dict.fromkeys(name.strip() if isinstance(name, str) else name for name in names))
    for name in wanted:
        if name not in dtype_names():
            raise InputError(f"there is no recipe for dtype {name!r}; there is {', '.join(dtype_names())}")
    if not wanted:
        raise InputError(f"dtypes is empty; name at least one of {', '.join(dtype_names())}")
    return wanted


def checked_max_drop(max_drop: float | None) -> float:
    """The bound on changed labels, in points; the default for None.

    Raises:
        InputError: not a number from 0 to 100.
    """
    if max_drop is None:
        return DEFAULT_MAX_DROP
    if not isinstance(max_drop, (int, float)) or isinstance(max_drop, bool) or not 0 <= max_drop <= 100:
        raise InputError(f"max_drop must be from 0 to 100 points, got {max_drop!r}")
    return float(max_drop)


def graph_path(folder: Path, dtype: str, name: str = "model") -> Path:
    """Where a dtype's graph lies in a bundle."""
    return folder / "onnx" / f"{name}{SUFFIXES[dtype]}.onnx"


def quantize(dtype: str, source: Path, destination: Path, target: Target) -> Mapping[str, Any]:
    """Make the graph of a dtype.

    Args:
        dtype: A key of :data:`RECIPES`.
        source: The fp32 graph.
        destination: The graph to write; its weights go beside it.
        target: The processor it is for.

    Returns:
        The recipe, for the manifest.
    """
    module = import_module(f"edgepipe_export.quantize.{RECIPES[dtype]}")
    recipe: Mapping[str, Any] = module.quantize(source, destination, target)
    return recipe
