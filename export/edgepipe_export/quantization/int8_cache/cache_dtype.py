"""What a cache's keys and values can be kept in, and which variants can have them in what."""

from __future__ import annotations

from collections.abc import Sequence

from edgepipe.errors import InputError
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.quantization.target import CPU_TARGETS, Target

INT8 = "int8"
CACHE_DTYPES = (FP32, INT8)

# Variants whose attention stays ``GroupQueryAttention`` in fp32. The others write it out for half precision, or round
# its values as they were calibrated on whole texts.
_VARIANTS = ("int8", "int8-rows", "w8", "w8-rows", "q4", "q4-rows")


def check_cache_dtype(cache_dtype: str, dtypes: Sequence[str], target: Target) -> str:
    """Check what an export is to keep keys and values in.

    Args:
        cache_dtype: One of :data:`CACHE_DTYPES`.
        dtypes: The variants; none where one is chosen.
        target: What they are for.

    Raises:
        InputError: there is no such dtype, or a variant or the target cannot have it.
    """
    if cache_dtype not in CACHE_DTYPES:
        raise InputError(f"kv_cache_dtype (--kv-cache-dtype) must be {' or '.join(CACHE_DTYPES)}, got {cache_dtype!r}")
    if cache_dtype == FP32:
        return cache_dtype
    if target.name not in CPU_TARGETS:
        raise InputError(
            f"kv_cache_dtype={INT8!r} is for onnxruntime on processors, and the target is {target.name}: leave it out"
        )
    unable = [dtype for dtype in dtypes if dtype != FP32 and not has_int8_cache(dtype)]
    if unable:
        raise InputError(f"{', '.join(unable)} cannot have kv_cache_dtype={INT8!r}; {', '.join(_VARIANTS)} can")
    if not any(map(has_int8_cache, dtypes)):
        raise InputError(
            f"kv_cache_dtype={INT8!r} is for quantized variants, and fp32 is exact; name one of {', '.join(_VARIANTS)} "
            "too (dtypes=, --dtype)"
        )
    return cache_dtype


def has_int8_cache(dtype: str) -> bool:
    """Whether a variant gets a cache in 8 bits where that is asked for."""
    return dtype in _VARIANTS
