"""Which provider runs which nodes of a session, and what is wrong with that."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from edgepipe.backend.onnxruntime.ort_module import CPU, load_ort
from edgepipe.backend.session import describe_placement
from edgepipe.errors import KernelError

# How many operators of each kind a provider runs, the most first: {"CPUExecutionProvider": {"Gather": 3}}.
Placement = Mapping[str, Mapping[str, int]]

_RECORD = "session.record_ep_graph_assignment_info"

# Operators that work on shapes, ids and masks. A provider leaves them to the processor where their values are there
# already, and loses nothing by it. Any other there computes what the device was asked for.
SHAPE_OPERATORS = frozenset(
    {
        *("Shape", "Size", "Range", "Constant", "ConstantOfShape", "Identity", "Cast", "NonZero", "OneHot", "CumSum"),
        *("Reshape", "Squeeze", "Unsqueeze", "Expand", "Tile", "Flatten", "Concat", "Slice", "Split", "Pad"),
        *("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Trilu"),
        *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Min", "Max", "Clip", "Where"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not"),
        *("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ArgMax", "MemcpyFromHost", "MemcpyToHost"),
    }
)


def record_placement(options: Any) -> None:
    """Have a session that is started with these ``SessionOptions`` know where its nodes run."""
    options.add_session_config_entry(_RECORD, "1")


def read_placement(session: Any) -> Placement:
    """Where the nodes of a session run, which was started with :func:`record_placement`."""
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    in_order = [name for name in session.get_providers() if name in found]
    return {provider: dict(found[provider].most_common()) for provider in in_order}


def check_placement(graph: Path, placement: Placement, provider: str, *, allows_cpu: bool) -> None:
    """Check that a provider runs a graph, and the processor nothing that the provider should.

    Args:
        graph: The graph's file.
        placement: Where its nodes run.
        provider: The provider that was asked for.
        allows_cpu: Whether the processor may compute what the provider cannot.

    Raises:
        KernelError: it runs no node, or the processor computes more than shapes, ids and masks.
    """
    own = sum(placement.get(provider, {}).values())
    count = sum(sum(kinds.values()) for kinds in placement.values())
    if not own:
        raise KernelError(
            f'{graph}: {provider} runs none of the {count} nodes, and the processor all of them; take device="cpu" for '
            "that"
        )
    left = {kind: number for kind, number in placement.get(CPU, {}).items() if kind not in SHAPE_OPERATORS}
    if left and not allows_cpu and provider != CPU:
        raise KernelError(
            f"{graph}: {provider} of onnxruntime {load_ort().__version__} leaves {sum(left.values())} of {count} nodes "
            f"to the processor ({_list(left)}); put ',cpu' behind the device, or CPUExecutionProvider behind the "
            "providers, to have it so"
        )


@cache
def _warn_of_choice(line: str) -> None:
    warnings.warn(f'device="auto": of what is here, onnxruntime chose: {line}', stacklevel=2)


def tell_choice(placement: Placement) -> None:
    """Say once what onnxruntime chose for a device that was left to it."""
    _warn_of_choice(describe_placement(placement))


def _list(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in kinds.items())
