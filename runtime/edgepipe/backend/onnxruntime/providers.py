"""Which execution providers a graph runs on."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from edgepipe.arguments import did_you_mean, is_whole
from edgepipe.backend.machine import ARM64, ARM64_DOT, AVX2, VNNI, X86
from edgepipe.backend.onnxruntime.ort_module import CPU, CUDA, load_ort
from edgepipe.backend.session import DeviceProfile, Provider, SessionConfig, refuse_int8_cache
from edgepipe.backend.shape_buckets import ON_DEVICES
from edgepipe.errors import DependencyError, DeviceError, InputError

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

# Variants by kind of processor, the fastest first. Products in 8 bits have kernels on all. MatMulNBits, which w8 and q4
# are made of, has some where there are dot products or AVX2. Elsewhere it writes its weights in fp32 for each product:
# `python -m benchmarks.graphs.quantized BUNDLE --without-kernels` shows what that takes; docs/reference/processors.md
# has the instructions on each kind. fp16 is converted from and to fp32 around each product, but on ARM with half
# precision.
_WITH_KERNELS = ("int8", "int8-rows", "int8-static", "w8-rows", "q4-rows", "w8", "q4", "fp32", "fp16")
_WITHOUT = ("int8", "int8-rows", "int8-static", "fp32", "fp16", "q4-rows", "w8-rows", "q4", "w8")

# 1.24 does not load a graph whose keys and values are in 8 bits, and 1.26 loads it and fails in a run.
_INT8_CACHE_FROM = (1, 27)

_CPU_PROFILE = DeviceProfile(
    variant_orders={ARM64: _WITHOUT, ARM64_DOT: _WITH_KERNELS, X86: _WITHOUT, AVX2: _WITH_KERNELS, VNNI: _WITH_KERNELS},
    integer_products=True,
)

_CUDA_PROFILE = DeviceProfile(
    name="CUDA",
    is_cpu=False,
    # Those it runs as a whole.
    preferred_variants=("fp16", "fp32", "q4f16", "w8", "q4", "bnb4"),
    # Products in 8-bit integers. onnxruntime has no CUDA kernel for DynamicQuantizeLinear, and computes quantized-and-
    # dequantized graphs in fp32 there: the one would go back and forth between the devices, the other be slower than
    # fp32. It computes no graph of fp32 in bf16.
    unsupported_variants=("int8", "int8-rows", "int8-static", "w8-rows", "q4-rows", "q8", "uint8", "bf16"),
    shares_cache=False,
)


def resolve_providers(device: str | int | None, providers: Sequence[Provider] | None) -> list[Provider]:
    """The list for onnxruntime, from two fields of a :class:`~edgepipe.backend.session.SessionConfig`.

    Raises:
        InputError: the list is empty, the device is none, or the CUDA provider has no such option.
        DeviceError: this onnxruntime has no such device or provider.
    """
    ort = load_ort()
    available: list[str] = ort.get_available_providers()
    if providers is not None:
        chosen = [_with_defaults(provider) for provider in providers]
        if not chosen:
            raise InputError(f"providers is empty; this onnxruntime has {', '.join(available)}")
        for name in map(provider_name, chosen):
            if name not in available and not _is_plugin(name):
                raise DeviceError(
                    f"this onnxruntime ({ort.__version__}) has no {name!r}, only {', '.join(available)}{_advise(name)}"
                )
    elif is_plugin_device(device):
        from edgepipe.backend.onnxruntime.plugins.plugin_devices import resolve_device

        chosen = resolve_device(device)
    else:
        index = cuda_index(device)
        if index is None:
            return [CPU]
        if CUDA not in available:
            raise DeviceError(
                f"device {device!r} was asked for, but the installed onnxruntime {ort.__version__} has no CUDA; "
                "pip uninstall -y onnxruntime, then pip install 'edgepipe[gpu]', or use device=\"cpu\""
            )
        chosen = [_with_defaults((CUDA, {"device_id": index})), CPU]
    if any(provider_name(provider) == CUDA for provider in chosen):
        _load_cuda_libraries()
    return chosen


# Where builds of onnxruntime with a provider come from.
_BUILDS: Mapping[str, str] = {
    "ACLExecutionProvider": "build onnxruntime from its source with --use_acl",
    "ArmNNExecutionProvider": "onnxruntime has dropped it, build it from its source with --use_acl or --use_xnnpack",
    "CoreMLExecutionProvider": "onnxruntime's wheels for macOS have it",
    "DmlExecutionProvider": "on Windows, pip uninstall -y onnxruntime, then pip install onnxruntime-directml",
    "XnnpackExecutionProvider": "build onnxruntime from its source with --use_xnnpack",
}


def _is_plugin(name: str) -> bool:
    from edgepipe.backend.onnxruntime.plugins.plugin_devices import request_of

    return request_of(name) is not None


def _advise(name: str) -> str:
    """How to get a provider that is not there, to end a message with."""
    if name in _BUILDS:
        return f"; {_BUILDS[name]}"
    from edgepipe.backend.onnxruntime.plugins.plugin_packages import PLUGINS

    packages = [plugin.package for plugin in PLUGINS.values() if plugin.provider == name]
    return "".join(f"; pip install {package}" for package in packages)


def is_plugin_device(device: str | int | None) -> bool:
    """Whether a device is that of a plug-in, or "auto".

    Raises:
        InputError: it is, and what follows the name is wrong.
    """
    if not isinstance(device, str) or device in ("cpu", "cuda") or device.startswith("cuda:"):
        return False
    from edgepipe.backend.onnxruntime.plugins.plugin_devices import parse_device

    return parse_device(device) is not None


def describe_plugin_versions(config: SessionConfig) -> str:
    """The plug-ins that a configuration runs on, with versions and hardware, each behind a comma; empty for none."""
    if not is_plugin_device(config.device) and all(
        provider_name(each) in (CPU, CUDA) for each in config.providers or ()
    ):
        return ""
    from edgepipe.backend.onnxruntime.plugins.plugin_devices import describe_devices_of

    return describe_devices_of(config)


def _with_defaults(provider: Provider) -> Provider:
    if provider_name(provider) != CUDA:
        return provider
    return CUDA, cuda_options({} if isinstance(provider, str) else provider[1])


@cache
def _load_cuda_libraries() -> None:
    """Load CUDA's libraries from the packages that onnxruntime-gpu's extras and torch install, or from the system."""
    # It prints what it does not find, some of which is not needed; what stops a session is found out after it did.
    with contextlib.redirect_stdout(io.StringIO()):
        load_ort().preload_dlls()


def provider_name(provider: Provider) -> str:
    """The name of an entry of the list."""
    return provider if isinstance(provider, str) else provider[0]


def gpu_index(providers: Sequence[Provider]) -> int | None:
    """The GPU that a list asks for; None where it has no CUDA provider."""
    for provider in providers:
        if provider_name(provider) == CUDA:
            index = {} if isinstance(provider, str) else provider[1]
            return int(index.get("device_id", 0))
    return None


def device_profile(config: SessionConfig) -> DeviceProfile:
    """See :class:`~edgepipe.backend.session.Engine`.

    Raises:
        InputError: the device is none.
    """
    if is_plugin_device(config.device):
        from edgepipe.backend.onnxruntime.plugins.plugin_devices import profile_plugin

        return profile_plugin(config) or DeviceProfile()
    if config.providers is None:
        return _CPU_PROFILE if cuda_index(config.device) is None else replace(_CUDA_PROFILE, buckets=ON_DEVICES)
    first = provider_name(config.providers[0]) if config.providers else CPU
    return {CPU: _CPU_PROFILE, CUDA: _CUDA_PROFILE}.get(first, DeviceProfile(is_cpu=False))


def check_int8_cache(config: SessionConfig, what: str) -> None:
    """See :class:`~edgepipe.backend.session.Engine`.

    Raises:
        DependencyError: onnxruntime is too old for it.
        DeviceError: the device is no processor.
    """
    if not device_profile(config).is_cpu:
        refuse_int8_cache(config.device or provider_name((config.providers or [CPU])[0]), what)
    version = load_ort().__version__
    least = ".".join(map(str, _INT8_CACHE_FROM))
    if tuple(int(part) for part in version.split(".")[:2]) < _INT8_CACHE_FROM:
        raise DependencyError(
            f"{what} has its cache in 8 bits, which needs onnxruntime {least} or newer, and {version} is installed: "
            f"pip install -U 'onnxruntime>={least}', take another variant (dtype=), or export the checkpoint without "
            "--kv-cache-dtype"
        )


def cuda_index(device: str | int | None) -> int | None:
    """The GPU a device names; None for the CPU.

    Raises:
        InputError: not ``"cpu"``, ``"cuda"``, ``"cuda:N"``, N or -1.
    """
    if device in (None, "cpu", -1) and not isinstance(device, bool):
        return None
    if device == "cuda":
        return 0
    if is_whole(device):
        return int(device)
    if isinstance(device, str) and device.startswith("cuda:") and device[5:].isdecimal():
        return int(device[5:])
    raise InputError(f'device must be "cpu", "cuda", "cuda:1" or an index, got {device!r}')


def cuda_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the CUDA provider, by onnxruntime's names: those given over our defaults.

    Raises:
        InputError: onnxruntime has no such option; the message names the nearest. Or ``device_id`` is no index.
    """
    for name in options:
        if name not in CUDA_OPTIONS:
            hint = did_you_mean(name, CUDA_OPTIONS) or f"; it has {', '.join(CUDA_OPTIONS)}"
            raise InputError(f"{CUDA} has no option {name!r}{hint}")
    index = options.get("device_id", 0)
    if not is_whole(index) and not str(index).isdecimal():
        raise InputError(f"{CUDA}'s device_id must be the index of a GPU, 0 or more, got {index!r}")
    return {**_DEFAULTS, **options}
