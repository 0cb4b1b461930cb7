"""Whether the memory suffices for a variant, said before it is loaded: the kernel ends a process without a word.

An error says what cannot be: the weights need more than this process can ever have. A warning says what may fail: they
need more than is free at the moment. Both go by the least that a load takes
(:class:`~edgepipe.backend.session.MemoryNeed`), so that nothing is refused that would have worked.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgepipe.backend.engines import engine_for
from edgepipe.backend.machine import MemoryBound, memory_bounds
from edgepipe.backend.session import MemoryNeed, SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.errors import OutOfMemoryError

_MEGABYTE = 1e6
# A load that takes so many times the bytes of its files is not looked at closer: none has taken as much.
_MOST_TIMES = 3


def check_memory(bundle: Bundle, dtype: str, config: SessionConfig, graph: Path) -> None:
    """Compare what the weights of a graph need with the memory that there is.

    Args:
        bundle: The bundle.
        dtype: The variant whose files are read.
        config: Where and how it runs.
        graph: The graph's file.

    Raises:
        OutOfMemoryError: they need more than this process can have.

    Warns where they need more than is free.
    """
    bounds = memory_bounds()
    try:
        files = sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))
    except OSError:  # a link that leads nowhere, a file that is being replaced: the load says what is wrong
        return
    if all(_MOST_TIMES * files < bound.left for bound in bounds):
        return
    need = _count([graph], config)
    if need is None:
        return
    refusing = _find_too_small(need, bounds, at_most=True)
    if refusing is not None:
        raise OutOfMemoryError(
            f"{graph} cannot be loaded: its weights need {_megabytes(_amount(need, refusing))} of memory, and "
            f"{refusing.name} leaves {_megabytes(refusing.most)} for them; {_advise(bundle, dtype, config, bounds)}"
        )
    tight = _find_too_small(need, bounds, at_most=False)
    if tight is not None:
        warnings.warn(
            f"{bundle.path}: the weights of {dtype} need {_megabytes(_amount(need, tight))} of memory, and "
            f"{tight.name} has {_megabytes(tight.left)} free: the system may end this process while it loads; "
            f"{_advise(bundle, dtype, config, bounds)}",
            stacklevel=2,
        )


def fits_memory(bundle: Bundle, dtype: str, config: SessionConfig) -> bool:
    """Whether the weights of a variant need no more than is free at the moment."""
    need = _count(_graphs(bundle, dtype), config)
    return need is not None and _find_too_small(need, memory_bounds(), at_most=False) is None


def _advise(bundle: Bundle, dtype: str, config: SessionConfig, bounds: Sequence[MemoryBound]) -> str:
    """What to do: each way that needs less than there is."""
    ways = []
    mapped = _count(_graphs(bundle, dtype), replace(config, low_memory=True))
    if not config.low_memory and mapped is not None and _find_too_small(mapped, bounds, at_most=False) is None:
        ways.append("low_memory=True (--low-memory), which leaves the weights in their file")
    for name in bundle.dtypes:
        need = None if name == dtype else _count(_graphs(bundle, name), config)
        if need is not None and _find_too_small(need, bounds, at_most=False) is None:
            ways.append(f"dtype={name!r} (--dtype {name})")
    if not ways:
        return "make room, or export a smaller variant (--dtype q4)"
    return f"take {', or '.join(ways)}"


def _graphs(bundle: Bundle, dtype: str) -> list[Path]:
    return [file for file in bundle.files(dtype) if file.suffix == ".onnx"]


def _count(graphs: Sequence[Path], config: SessionConfig) -> MemoryNeed | None:
    """What the weights of some graphs need; None where one cannot be read, which its load explains."""
    count = engine_for(config).count_memory
    try:
        return sum((count(graph, config) for graph in graphs), MemoryNeed())
    except (OSError, ValueError, IndexError):
        return None


def _find_too_small(need: MemoryNeed, bounds: Sequence[MemoryBound], *, at_most: bool) -> MemoryBound | None:
    """The bound that a need exceeds by most; None where there is none."""
    over = {bound: _amount(need, bound) - (bound.most if at_most else bound.left) for bound in bounds}
    worst = max(over, key=lambda bound: over[bound], default=None)
    return worst if worst is not None and over[worst] > 0 else None


def _amount(need: MemoryNeed, bound: MemoryBound) -> int:
    """What counts against a bound."""
    return need.private + (need.mapped if bound.counts_mapped else 0)


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:,.0f} MB"
