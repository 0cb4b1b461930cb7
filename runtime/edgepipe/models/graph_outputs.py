"""Whether a graph gives what is read of it: another tool's graph, or a stranger's, may give anything by any name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepipe.errors import BundleError


def check_output(outputs: Mapping[str, Any], name: str, shape: Sequence[int | None]) -> None:
    """Check that a graph gave an array of numbers of this shape.

    Args:
        outputs: What it gave, by name.
        name: The output that is read.
        shape: The size of each axis; None where any will do.

    Raises:
        BundleError: it gave none, or another; the message has both shapes.
    """
    if name not in outputs:
        raise BundleError(
            f"the graph gives {', '.join(outputs)}, and no {name}, which the task reads: it is for another task, or "
            "damaged; export the checkpoint for this task"
        )
    array = outputs[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise BundleError(
            f"the graph gives {name} as {getattr(array, 'dtype', type(array).__name__)}, and not as floating-point "
            "numbers; export the checkpoint again"
        )
    if len(array.shape) != len(shape) or any(
        size not in (None, found) for size, found in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise BundleError(
            f"the graph gives {name} of the shape {list(array.shape)}, expected [{wanted}]: it does not fit its "
            "config; export the checkpoint again"
        )
