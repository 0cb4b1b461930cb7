"""Which execution providers a graph runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepipe.errors import DeviceError, InputError

Provider = str | tuple[str, Mapping[str, Any]]


def execution_providers(ort: Any, device: str | int | None, providers: Sequence[Provider] | None) -> list[Provider]:
    """The list for onnxruntime.

    Args:
        ort: The module onnxruntime.
        device: See :class:`~edgepipe.session.SessionConfig`.
        providers: onnxruntime's own list, in place of `device`.

    Raises:
        InputError: the list is empty, or the device is none.
        DeviceError: this onnxruntime does not have what was asked for.
    """
    available: list[str] = ort.get_available_providers()
    if providers is not None:
        chosen = list(providers)
        if not chosen:
            raise InputError(f"providers is empty; this onnxruntime has {', '.join(available)}")
        for provider in chosen:
            name = provider if isinstance(provider, str) else provider[0]
            if name not in available:
                raise DeviceError(f"this onnxruntime ({ort.__version__}) has no {name!r}, only {', '.join(available)}")
        return chosen
    index = cuda_index(device)
    if index is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise DeviceError(
            f"device {device!r} was asked for, but the installed onnxruntime {ort.__version__} has no CUDA; "
            "pip uninstall -y onnxruntime, then pip install 'edgepipe[gpu]', or use device=\"cpu\""
        )
    ort.preload_dlls()
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


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
