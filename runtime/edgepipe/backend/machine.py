"""The processor, the memory and the packages of this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgepipe.backend.cgroups import cgroup_memory, cgroup_memory_left
from edgepipe.backend.threads import available_threads

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_BOARD = Path("/proc/device-tree/model")

# Instructions that add 8-bit products in 32 bits.
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

# Instruction set extensions that onnxruntime's kernels are written for, by Linux' names: x86, then ARM.
KERNEL_FLAGS = (
    "sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip


# Kinds of processors: onnxruntime has other kernels for 8-bit and 4-bit products on each. 64-bit ARM without dot
# products and with them; x86 without AVX2, with AVX2 alone (which AVX-512 does not change), and with VNNI.
ARM64, ARM64_DOT, X86, AVX2, VNNI = KINDS = ("arm64", "arm64-dotprod", "x86", "avx2", "vnni")


@dataclass(frozen=True, slots=True)
class Processor:
    """What decides which kernels run on a processor.

    Attributes:
        architecture: As ``platform.machine()`` has it.
        flags: Its instruction set extensions by Linux' names; empty where they are not known.
    """

    architecture: str
    flags: frozenset[str]

    @property
    def kind(self) -> str | None:
        """One of :data:`KINDS`; None where its instructions are not known, and for 32 bits."""
        architecture = self.architecture.lower()
        if not self.flags or architecture not in ("x86_64", "amd64", "aarch64", "arm64"):
            return None
        if architecture in ("aarch64", "arm64"):
            return ARM64_DOT if "asimddp" in self.flags else ARM64
        if self.flags & VNNI_FLAGS:
            return VNNI
        return AVX2 if "avx2" in self.flags else X86


@dataclass(frozen=True, slots=True)
class MemorySize:
    """Memory of this machine in bytes; None for what the system does not tell.

    Attributes:
        total: All of it.
        available: What can be had without swapping.
        limit: What the process's cgroups allow; None where there is no limit.
        swap: Room on a disk that counts as memory, and
        free_swap: how much of it is free.
    """

    total: int | None
    available: int | None
    limit: int | None
    swap: int = 0
    free_swap: int = 0


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """What bounds the memory of this process, and how much of it there still is, in bytes.

    Attributes:
        name: For messages, e.g. ``"the machine"``.
        most: What this process can have beside what it holds, if all others give theirs back.
        left: What it can have as things are.
        counts_mapped: Whether files that are mapped count, as addresses do.
    """

    name: str
    most: int
    left: int
    counts_mapped: bool = False


def machine_name(threads: int | None = None) -> str:
    """Processor, threads and system, e.g. ``AMD EPYC 7763, 2 threads, Linux x86_64``.

    Args:
        threads: How many were used; by default what the process may use.
    """
    count = available_threads() if threads is None else threads
    return f"{processor_name()}, {count} thread{'s' if count != 1 else ''}, {platform.system()} {platform.machine()}"


def processor_name() -> str:
    """The processor as it calls itself, or its kind."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def board_name() -> str | None:
    """The single-board computer that this is, e.g. ``Raspberry Pi 5 Model B Rev 1.0``; None where none is known."""
    try:
        return _BOARD.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def memory_size() -> MemorySize:
    """How much memory there is."""
    found = _read_kilobytes(_MEMINFO)
    if not found:  # not Linux
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return MemorySize(pages * os.sysconf("SC_PAGE_SIZE") if pages else None, None, None)
    swap = found.get("SwapTotal", 0), found.get("SwapFree", 0)
    return MemorySize(found.get("MemTotal"), found.get("MemAvailable"), cgroup_memory(), *swap)


def memory_bounds() -> list[MemoryBound]:
    """Everything that bounds the memory of this process: the machine, its cgroups, and limits of the process itself.

    Source: proc_pid_status(5), getrlimit(2) and the kernel's documentation of cgroups. Swap counts as memory.
    """
    own = _read_kilobytes(_STATUS)
    size = memory_size()
    private = own.get("RssAnon", 0)
    found = []
    if size.total is not None and size.available is not None:
        found.append(MemoryBound("this machine", size.total + size.swap - private, size.available + size.free_swap))
    if size.limit is not None:
        most = size.limit + size.swap - private
        left = cgroup_memory_left()
        free = most if left is None else left + size.free_swap
        found.append(MemoryBound("the control group (container)", most, min(most, free)))
    try:
        import resource
    except ImportError:  # Windows
        return found
    for name, limit, used in (
        ("the limit of addresses (ulimit -v)", resource.RLIMIT_AS, "VmSize"),
        ("the limit of data (ulimit -d)", resource.RLIMIT_DATA, "VmData"),
    ):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and used in own:
            left = max(0, soft - own[used])
            found.append(MemoryBound(name, left, left, counts_mapped=True))
    return found


def _read_kilobytes(path: Path) -> dict[str, int]:
    """The sizes of a file of ``NAME:   NUMBER kB`` lines, in bytes; none where it is not there."""
    try:
        fields = (line.split() for line in path.read_text().splitlines())
        return {
            words[0].removesuffix(":"): int(words[1]) * 1024
            for words in fields
            if len(words) > 1 and words[1].isdecimal()
        }
    except OSError:  # not Linux
        return {}


def runtime_versions() -> dict[str, str]:
    """Versions of Python, edgepipe and what it runs on; a package that is not installed is left out."""
    packages = ("edgepipe", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy")
    return {"python": platform.python_version(), **package_versions(packages)}


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of some packages that are installed; none of them is imported."""
    from importlib.metadata import PackageNotFoundError, version  # it takes long to load

    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def cpu_flags() -> frozenset[str]:
    """The instruction set extensions that Linux reports for the first processor; empty on other systems."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features") or "").split())


def this_processor() -> Processor:
    """The processor that this process runs on."""
    return Processor(platform.machine(), cpu_flags())


def saturates() -> bool:
    """Whether sums of 8-bit products overflow here: on x86 without VNNI, which adds pairs of them in 16 bits.

    False too where the processor's instructions are not known (onnxruntime#5849, #14642).
    """
    return this_processor().kind in (X86, AVX2)


def kernel_flags() -> tuple[str, ...]:
    """Those of :data:`KERNEL_FLAGS` that the processor has; empty where that is not known."""
    flags = cpu_flags()
    return tuple(name for name in KERNEL_FLAGS if name in flags)


def _cpuinfo(key: str) -> str | None:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == key), None)
