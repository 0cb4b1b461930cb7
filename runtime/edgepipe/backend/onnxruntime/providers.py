"""Which execution providers a graph runs on."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from edgepipe.backend.onnxruntime.cuda_diagnostics import PROVIDER as CUDA
from edgepipe.backend.onnxruntime.provider_options import cuda_options
from edgepipe.errors import DeviceError, InputError

Provider = str | tuple[str, Mapping[str, Any]]


def execution_providers(ort: Any, device: str | int | None, providers: Sequence[Provider] | None) -> list[Provider]:
    """The list for onnxruntime.

    Args:
        ort: The module onnxruntime.
        device: See :class:`~edgepipe.backend.onnxruntime.session.SessionConfig`.
        providers: onnxruntime's own list, in place of `device`.

    Raises:
        InputError: the list is empty, the device is none, or the CUDA provider has no such option.
        DeviceError: this onnxruntime does not have what was asked for.
    """
    available: list[str] = ort.get_available_providers()
    if providers is not None:
        chosen = [_with_defaults(provider) for provider in providers]
        if not chosen:
            raise InputError(f"providers is empty; this onnxruntime has {', '.join(available)}")
        for provider in chosen:
            if name_of(provider) not in available:
                raise DeviceError(
                    f"this onnxruntime ({ort.__version__}) has no {name_of(provider)!r}, only {', '.join(available)}"
                )
    else:
        index = cuda_index(device)
        if index is None:
            return ["CPUExecutionProvider"]
        if CUDA not in available:
            raise DeviceError(
                f"device {device!r} was asked for, but the installed onnxruntime {ort.__version__} has no CUDA; "
                "pip uninstall -y onnxruntime, then pip install 'edgepipe[gpu]', or use device=\"cpu\""
            )
        chosen = [_with_defaults((CUDA, {"device_id": index})), "CPUExecutionProvider"]
    if any(name_of(provider) == CUDA for provider in chosen):
        _load_cuda_libraries(ort)
    return chosen


def _with_defaults(provider: Provider) -> Provider:
    if name_of(provider) != CUDA:
        return provider
    return CUDA, cuda_options({} if isinstance(provider, str) else provider[1])


@cache
def _load_cuda_libraries(ort: Any) -> None:
    """Load CUDA's libraries from the packages that onnxruntime-gpu's extras and torch install, or from the system."""
    # It prints what it does not find, some of which is not needed; what stops a session is found out after it did.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()


def name_of(provider: Provider) -> str:
    """The name of an entry of the list."""
    return provider if isinstance(provider, str) else provider[0]


def asked_gpu(providers: Sequence[Provider]) -> int | None:
    """The GPU that a list asks for; None where it has no CUDA provider."""
    for provider in providers:
        if name_of(provider) == CUDA:
            index = {} if isinstance(provider, str) else provider[1]
            return int(index.get("device_id", 0))
    return None


def on_cuda(device: str | int | None, providers: Sequence[Provider] | None) -> bool:
    """Whether the first provider that is asked for is CUDA.

    Args:
        device: See :class:`~edgepipe.backend.onnxruntime.session.SessionConfig`.
        providers: onnxruntime's own list, in place of `device`.
    """
    if providers is None:
        return cuda_index(device) is not None
    return bool(providers) and name_of(providers[0]) == CUDA


def cuda_index(device: str | int | None) -> int | None:
    """The GPU a device names; None for the CPU.

    Raises:
        InputError: not ``"cpu"``, ``"cuda"``, ``"cuda:N"``, N or -1.
    """
    if device in (None, "cpu", -1) and not isinstance(device, bool):
        return None
    if device == "cuda":
        return 0
    if isinstance(device, int) and not isinstance(device, bool) and device >= 0:
        return device
    if isinstance(device, str) and device.startswith("cuda:") and device[5:].isdecimal():
        return int(device[5:])
    raise InputError(f'device must be "cpu", "cuda", "cuda:1" or an index, got {device!r}')
