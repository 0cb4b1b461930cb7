"""Weights of small layers, read from safetensors files on numpy alone.

Format: https://github.com/huggingface/safetensors#format: the length of the header as 8 bytes, the header as JSON,
then the tensors' bytes; all numbers little-endian.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.bundle.integrity import unreadable_error
from edgepipe.errors import BundleError

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a file by name, as float32.

    Raises:
        BundleError: the file is missing or damaged, or a tensor is not of floating point.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable_error(path, error) from error
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:start].decode("utf-8"))
        return {name: _tensor(entry, content[start:]) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is no safetensors file of floating-point tensors ({error}); export again") from error


def _tensor(entry: dict[str, Any], data: bytes) -> NDArray[np.float32]:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    values = np.frombuffer(data[begin:end], _DTYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    tensor: NDArray[np.float32] = values.reshape(shape).astype(np.float32)
    return tensor
