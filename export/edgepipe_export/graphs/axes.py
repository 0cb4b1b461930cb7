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
