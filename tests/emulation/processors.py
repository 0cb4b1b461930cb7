"""The processors that the runtime is tried on.

To add one: an entry in :data:`PROCESSORS`. Its ``cpu`` is a name of ``qemu-ARCHITECTURE -cpu help``. One that qemu
cannot emulate has none: it is this machine itself, where that has its flag.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor that is emulated, or this machine's own.

    Attributes:
        name: What it is called here.
        architecture: Its instructions, as Debian calls them.
        cpu: As qemu calls it; empty for one that qemu does not emulate.
        found_in: Where it can be bought.
        kernels: What decides which of onnxruntime's kernels run.
        flags: Its instruction set extensions, as Linux lists them, where qemu does not write them itself. What this
            machine must have where nothing is emulated.
    """

    name: str
    architecture: str
    cpu: str
    found_in: str
    kernels: str
    flags: tuple[str, ...] = ()

    @property
    def emulated(self) -> bool:
        """Whether qemu does it."""
        return bool(self.cpu)

    @property
    def title(self) -> str:
        """Its name on the page."""
        return self.name if self.emulated else f"{self.name} (native)"


_NEHALEM = ("fpu", "sse", "sse2", "pni", "ssse3", "sse4_1", "sse4_2", "popcnt")
_HASWELL = (*_NEHALEM, "avx", "f16c", "fma", "avx2", "bmi1", "bmi2", "movbe")

PROCESSORS = {
    each.name: each
    for each in (
        Processor("cortex-a53", "arm64", "cortex-a53", "Raspberry Pi 3", "no dot products"),
        Processor("cortex-a72", "arm64", "cortex-a72", "Raspberry Pi 4", "no dot products"),
        Processor("cortex-a76", "arm64", "cortex-a76", "Raspberry Pi 5", "dot products, half precision"),
        Processor("haswell", "amd64", "Haswell", "Intel Core of 2013", "AVX2, without VNNI", _HASWELL),
        Processor("nehalem", "amd64", "Nehalem", "Intel Core of 2008", "SSE 4.2, without AVX", _NEHALEM),
        # qemu has no AVX-512.
        Processor("avx512-vnni", "amd64", "", "AMD Zen 4, Intel Xeon of 2019", "AVX-512, VNNI", ("avx512_vnni",)),
    )
}
ARCHITECTURES = ("arm64", "amd64")

# By Debian's name: what qemu and the names of wheels call it.
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
