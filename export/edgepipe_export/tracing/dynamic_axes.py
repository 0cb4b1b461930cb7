"""Which axes of a graph's inputs vary, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By input and axis: {"input_ids": {0: "batch_size", 1: "sequence_length"}}. An axis whose length is the sum of two
# others may be called "past_sequence_length + sequence_length".
Axes = Mapping[str, Mapping[int, str]]


def dynamic_shapes(axes: Axes) -> dict[str, dict[int, Any]]:
    """What ``torch.export`` takes for these axes."""
    from torch.export import Dim

    return {name: dict.fromkeys(varying, Dim.AUTO) for name, varying in axes.items()}


def shaped_like(sample: Any, shapes: Mapping[str, Any], name: str = "") -> Any:
    """Bring what is given by name into the form of nested inputs.

    Args:
        sample: A mapping or list of inputs, or of such mappings and lists, or a single input.
        shapes: What each input gets, by the name it has in the graph: its keys and positions, joined with dots.
        name: The name of `sample` itself.

    Returns:
        As `sample`, with ``shapes[name]`` for each input, or ``{}`` where there is none.
    """
    within = f"{name}." if name else ""
    if isinstance(sample, Mapping):
        return {key: shaped_like(value, shapes, f"{within}{key}") for key, value in sample.items()}
    if isinstance(sample, (list, tuple)):
        return [shaped_like(value, shapes, f"{within}{index}") for index, value in enumerate(sample)]
    return shapes.get(name, {})
