"""Weights of small layers, read from safetensors files on numpy alone.

Format: https://github.com/huggingface/safetensors#format: the length of the header as 8 bytes, the header as JSON,
then the tensors' bytes; all numbers little-endian.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.bundle.integrity import LONGEST_TEXT, parse_json, read_bounded, unreadable_error
from edgepipe.errors import BundleError

# The most bytes of a file: it is for layers that follow a transformer, the largest of which have some 100 MB.
_LARGEST = 1_000_000_000
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a file by name, as float32.

    Raises:
        BundleError: the file is missing or damaged, or a tensor is not of floating point.
    """
    try:
        content = memoryview(read_bounded(path, _LARGEST))
        start = 8 + int.from_bytes(content[:8], "little")
        if start > LONGEST_TEXT:
            raise ValueError("its header is too long")
        entries = {name: entry for name, entry in parse_json(bytes(content[8:start])).items() if name != "__metadata__"}
        _check_places(entries, len(content) - start)
        return {name: _tensor(entry, content[start:]) for name, entry in entries.items()}
    except OSError as error:
        raise unreadable_error(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is no safetensors file of floating-point tensors ({error}); export again") from error


def _check_places(entries: dict[str, dict[str, Any]], size: int) -> None:
    """Check that tensors lie one behind the other: where they overlap, a small file could fill the memory.

    Raises:
        ValueError: they do not.
    """
    end = 0
    for begin, behind in sorted(entry["data_offsets"] for entry in entries.values()):
        if begin != end or not end <= behind <= size:
            raise ValueError("its tensors overlap, leave gaps, or lie behind its end")
        end = behind


def _tensor(entry: dict[str, Any], data: memoryview) -> NDArray[np.float32]:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    values = np.frombuffer(data[begin:end], _DTYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    tensor: NDArray[np.float32] = values.reshape(shape).astype(np.float32)
    return tensor
