"""Why CUDA cannot be used here, as the driver and the dynamic loader tell; onnxruntime does not.

onnxruntime goes on without a provider whose libraries it cannot load, and logs one line about the first library that is
missing. So the cause is looked for here, once a session came without CUDA.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgepipe.backend.onnxruntime.ort_module import load_ort
from edgepipe.errors import first_line

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_LIBRARY = "onnxruntime_providers_cuda.dll" if sys.platform == "win32" else "libonnxruntime_providers_cuda.so"

# What cuInit answers (CUDA Driver API, CUresult).
_NO_DEVICE = 100
_MISMATCHES = (803, 804)  # CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE

_MISSING = re.compile(r"(?P<name>lib\S+?\.so\S*): cannot open shared object file")

# Where CUDA's libraries lie when they are not where the loader looks.
_TOOLKITS = ("usr/local/cuda*/lib64", "usr/local/cuda*/targets/*/lib", "usr/lib/*-linux-gnu", "usr/lib64")

_INSTALL = "pip install 'onnxruntime-gpu[cuda,cudnn]=={version}' brings the libraries that fit it"


@dataclass(frozen=True, slots=True)
class CudaState:
    """What can be observed of CUDA on this machine.

    Attributes:
        onnxruntime: Its version.
        built_for: The CUDA version that onnxruntime was built with, e.g. ``"13.0"``; empty where it does not say.
        driver: Whether the driver's library loads.
        status: What the driver answers when it is started, 0 for success.
        supports: The newest CUDA version that the driver knows, e.g. ``(12, 4)``.
        devices: How many GPUs it shows.
        visible: The environment variable ``CUDA_VISIBLE_DEVICES``; None where it is not set.
        problem: What the loader says about onnxruntime's CUDA library; empty where it loads.
        others: Files of a missing library in another major version.
    """

    onnxruntime: str
    built_for: str
    driver: bool
    status: int = 0
    supports: tuple[int, int] = (0, 0)
    devices: int = 0
    visible: str | None = None
    problem: str = ""
    others: tuple[str, ...] = ()


def inspect_cuda() -> CudaState:
    """Query the driver and the loader, after onnxruntime has tried to use CUDA: its own library is loaded first."""
    package = Path(load_ort().__file__).parent
    problem = _load_error(package / "capi" / _LIBRARY)
    others = tuple(map(str, _other_versions(problem, package.parent)))
    return replace(query_driver(), problem=problem, others=others)


def query_driver() -> CudaState:
    """Query the driver alone, which can be done before onnxruntime has tried to use CUDA."""
    ort = load_ort()
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        driver = None
    status, supports, devices = (0, (0, 0), 0) if driver is None else _query(driver)
    return CudaState(
        onnxruntime=ort.__version__,
        built_for=getattr(ort, "cuda_version", "") or "",
        driver=driver is not None,
        status=status,
        supports=supports,
        devices=devices,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def find_cause(found: CudaState, index: int) -> str | None:
    """Why the GPU `index` cannot be used and what to do about it; None where nothing that was found prevents it."""
    if not found.driver:
        return (
            f"there is no NVIDIA driver ({_DRIVER} cannot be loaded): install it, and in a container start that "
            "with its GPUs (docker run --gpus all)"
        )
    if found.status in _MISMATCHES:
        return (
            f"the parts of the NVIDIA driver do not fit each other (cuInit: {found.status}): restart after an update "
            "of the driver, and in a container use the driver's library of the host"
        )
    if found.status not in (0, _NO_DEVICE):
        return f"the NVIDIA driver does not start (cuInit: {found.status}): see what nvidia-smi says"
    hidden = "" if found.visible is None else f" (CUDA_VISIBLE_DEVICES is {found.visible!r})"
    if found.status == _NO_DEVICE or found.devices == 0:
        return f"the NVIDIA driver shows no GPU{hidden}: see what nvidia-smi says"
    if index >= found.devices:
        there = "only one GPU, 0" if found.devices == 1 else f"{found.devices} GPUs, 0 to {found.devices - 1}"
        return f"there is no GPU {index}, but {there}{hidden}: ask for one of them"
    required = _major(found.built_for)
    if required is not None and found.supports[0] < required:
        return (
            f"the NVIDIA driver is too old: it knows CUDA up to {found.supports[0]}.{found.supports[1]}, and "
            f"onnxruntime-gpu {found.onnxruntime} is built with CUDA {found.built_for}: update the driver, or install "
            f"an onnxruntime-gpu that is built with CUDA {found.supports[0]} (1.24.1 to 1.26: CUDA 12)"
        )
    return _missing_library(found) if found.problem else None


def _missing_library(found: CudaState) -> str:
    built = f"onnxruntime-gpu {found.onnxruntime}" + (
        f", built with CUDA {found.built_for}," if found.built_for else ""
    )
    install = _INSTALL.format(version=found.onnxruntime)
    missing = _MISSING.search(found.problem)
    if missing is None:
        return f"{built} cannot load its CUDA library ({found.problem}); {install}"
    if found.others:
        return (
            f"{built} needs {missing['name']}, and what is here is another major version, "
            f"{', '.join(found.others)}; {install}"
        )
    return (
        f"{built} needs {missing['name']}, which is not here; {install}, or have LD_LIBRARY_PATH name the folder that "
        "has it"
    )


def _major(version: str) -> int | None:
    first = version.partition(".")[0]
    return int(first) if first.isdecimal() else None


def _query(driver: ctypes.CDLL) -> tuple[int, tuple[int, int], int]:
    """What cuInit answers, the newest CUDA version, and the number of GPUs."""
    version, devices = ctypes.c_int(0), ctypes.c_int(0)
    status = int(driver.cuInit(0))
    driver.cuDriverGetVersion(ctypes.byref(version))  # 1000 * major + 10 * minor
    if status == 0:
        driver.cuDeviceGetCount(ctypes.byref(devices))
    return status, (version.value // 1000, version.value % 1000 // 10), devices.value


def _load_error(library: Path) -> str:
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return first_line(error)
    return ""


def _other_versions(problem: str, site: Path) -> Iterator[Path]:
    """Files of the library that is missing, in other versions, one a folder."""
    missing = _MISSING.search(problem)
    if missing is None:
        return
    stem = missing["name"].partition(".so")[0]
    folders = [Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    folders += sorted(site.glob("nvidia/*/lib"))
    for pattern in _TOOLKITS:
        folders += sorted(Path("/").glob(pattern))
    seen: set[Path] = set()
    for folder in folders:
        found = next(iter(sorted(folder.glob(f"{stem}.so.[0-9]*"))), None)
        if found is not None and found.resolve() not in seen:
            seen.add(found.resolve())
            yield found
