"""A device that is the processor, and a look into its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepipe.backend.device import TensorView
from edgepipe.backend.onnxruntime.ort_device import OrtDevice

# The processor's memory, dealt with as a device's.
DEVICE = OrtDevice(is_host=False)


def memory(value: Any) -> Any:
    """The numpy array that an ``OrtValue`` lies over, or that a view is."""
    if isinstance(value, TensorView):
        return value.memory.numpy()[value.start :][: np.prod(value.shape, dtype=int)].reshape(value.shape)
    return value if isinstance(value, np.ndarray) else value._numpy_obj
