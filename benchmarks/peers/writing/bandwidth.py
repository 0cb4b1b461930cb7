"""How fast memory is read: what a decoder cannot be faster than, which reads its weights for each token."""

from __future__ import annotations

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Far beyond the processor's caches.
SIZE = 1 << 30
RUNS = 5

# It reads as fast as memory gives, and Python runs other threads meanwhile.
_find = ctypes.CDLL(None).memchr
_find.restype = ctypes.c_void_p
_find.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_ABSENT = 1


def measure_bandwidth(threads: int, size: int = SIZE, runs: int = RUNS) -> float:
    """Bytes a second that threads read together, each a part of an array of its own: the best of some runs.

    Args:
        threads: How many.
        size: Bytes of all parts together.
        runs: How often all of them are read.
    """
    part = size // threads
    # Zeros would all be one page of memory.
    arrays = [np.full(part, 2, np.uint8) for _ in range(threads)]

    def read(number: int) -> None:
        if _find(arrays[number].ctypes.data, _ABSENT, part) is not None:
            raise AssertionError("the byte that is looked for is in no array")

    with ThreadPoolExecutor(threads) as pool:
        best = float("inf")
        for _ in range(runs):
            start = time.perf_counter()
            list(pool.map(read, range(threads)))
            best = min(best, time.perf_counter() - start)
    return threads * part / best
