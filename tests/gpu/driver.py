"""NVIDIA's driver by ctypes: what tests need to know of a GPU without torch."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _driver() -> Any:
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    _checked(driver.cuInit(0))
    return driver


def _checked(status: int) -> None:
    assert status == 0, f"the driver answers {status}"


def _enter(index: int) -> None:
    """Make the context that onnxruntime uses, the GPU's primary one, current in this thread."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _checked(_driver().cuDeviceGet(ctypes.byref(device), index))
    _checked(_driver().cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    _checked(_driver().cuCtxSetCurrent(context))


def free_bytes(index: int = 0) -> int:
    """Memory of a GPU that nobody has taken."""
    _enter(index)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _checked(_driver().cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    return free.value


def new_stream(index: int = 0) -> int:
    """The address of a new stream."""
    _enter(index)
    stream = ctypes.c_void_p()
    _checked(_driver().cuStreamCreate(ctypes.byref(stream), 1))  # CU_STREAM_NON_BLOCKING
    assert stream.value is not None
    return stream.value
