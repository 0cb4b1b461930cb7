"""Which axes of a graph's inputs vary, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By input and axis: {"input_ids": {0: "batch_size", 1: "sequence_length"}}. An axis whose length is the sum of two
# others may be called "past_sequence_length + sequence_length".
Axes = Mapping[str, Mapping[int, str]]

BATCH = "batch_size"
TOKEN_AXES: Mapping[int, str] = {0: BATCH, 1: "sequence_length"}


def dynamic_shapes(sample: Any, axes: Axes, name: str = "") -> Any:
    """The axes in the form that ``torch.export`` takes.

    Args:
        sample: A mapping or list of inputs, or of such mappings and lists, or a single input.
        axes: The axes that vary, by the input's name in the graph: its keys and positions, joined with dots.
        name: The name of `sample` itself.

    Returns:
        As `sample`, with the varying axes of each input in its place.
    """
    from torch.export import Dim

    prefix = f"{name}." if name else ""
    if isinstance(sample, Mapping):
        return {key: dynamic_shapes(value, axes, f"{prefix}{key}") for key, value in sample.items()}
    if isinstance(sample, (list, tuple)):
        return [dynamic_shapes(value, axes, f"{prefix}{index}") for index, value in enumerate(sample)]
    return dict.fromkeys(axes.get(name, ()), Dim.AUTO)
