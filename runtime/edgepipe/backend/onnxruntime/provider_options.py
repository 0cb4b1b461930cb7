"""Options of execution providers, under onnxruntime's names, checked before onnxruntime reads them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from edgepipe.backend.onnxruntime.cuda_diagnostics import PROVIDER
from edgepipe.errors import InputError

# Those that onnxruntime-gpu 1.31 reads; older ones read fewer, and say so themselves.
CUDA_OPTIONS = (
    "arena_extend_strategy",
    "cudnn_conv1d_pad_to_nc1d",
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "device_id",
    "do_copy_in_default_stream",
    "enable_cuda_graph",
    "enable_cudnn",
    "enable_skip_layer_norm_strict_mode",
    "fuse_conv_bias",
    "gpu_external_alloc",
    "gpu_external_empty_cache",
    "gpu_external_free",
    "gpu_mem_limit",
    "has_user_compute_stream",
    "prefer_nhwc",
    "sdpa_kernel",
    "tunable_op_enable",
    "tunable_op_max_tuning_duration_ms",
    "tunable_op_tuning_enable",
    "use_ep_level_unified_stream",
    "use_tf32",
    "user_compute_stream",
)

# TF32 keeps 10 bits of a product's factors: results would be some 1e-3 from PyTorch's, which does not use it either.
_DEFAULTS: Mapping[str, Any] = {"use_tf32": 0}


def cuda_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the CUDA provider: those given over our defaults.

    Args:
        options: By onnxruntime's names.

    Raises:
        InputError: onnxruntime has no such option; the message names the nearest. Or ``device_id`` is no index.
    """
    for name in options:
        if name not in CUDA_OPTIONS:
            near = difflib.get_close_matches(str(name), CUDA_OPTIONS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(CUDA_OPTIONS)}"
            raise InputError(f"{PROVIDER} has no option {name!r}; {hint}")
    index = options.get("device_id", 0)
    if not (isinstance(index, int) and not isinstance(index, bool) and index >= 0) and not str(index).isdecimal():
        raise InputError(f"{PROVIDER}'s device_id must be the index of a GPU, 0 or more, got {index!r}")
    return {**_DEFAULTS, **options}
