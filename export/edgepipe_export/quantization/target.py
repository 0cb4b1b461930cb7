"""The processor that a graph is for: it decides whether 8-bit weights use all 8 bits, and how attention is written."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from edgepipe.backend.engines import engine_for
from edgepipe.backend.machine import VNNI_FLAGS, cpu_flags, saturates, this_processor
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.layout import STORED_AS
from edgepipe.errors import DeviceError, InputError
from edgepipe.models.default_variant import TARGET_KINDS

# name: whether its 8-bit products saturate. x86 without VNNI adds pairs of them in 16 bits (VPMADDUBSW), which
# overflows silently unless weights keep to 7 bits (onnxruntime#5849, #14642).
# OpenVINO runs on all of the processors: None is as here, where its variants are measured.
TARGETS: dict[str, bool | None] = {
    "avx2": True,
    "avx512": True,
    "vnni": False,
    "arm64": False,
    "cuda": False,
    "openvino": None,
}

# Other names of them: as packages of several architectures say it, and optimum's.
ALIASES = {"x86-avx2": "avx2", "x86-avx512": "avx512", "x86-vnni": "vnni", "avx512_vnni": "vnni"}

# Processors with onnxruntime, and with any engine.
CPU_TARGETS = ("avx2", "avx512", "vnni", "arm64")
HOST_TARGETS = (*CPU_TARGETS, "openvino")
# Those for which variants are measured on another engine than onnxruntime, and its device.
DEVICES = {"openvino": "openvino"}

THIS = "this"


@dataclass(frozen=True, slots=True)
class Target:
    """A processor family, NVIDIA's GPUs, or another engine.

    Attributes:
        name: A key of :data:`TARGETS`.
    """

    name: str

    @property
    def reduce_range(self) -> bool:
        """Whether weights must keep to 7 bits."""
        saturating = TARGETS[self.name]
        return saturates() if saturating is None else saturating

    @property
    def standard_attention(self) -> bool:
        """Whether attention with a cache must be in standard operators.

        onnxruntime's CUDA kernel for ``GroupQueryAttention`` is for half precision alone: in fp32 the node would run on
        the processor. OpenVINO computes that operator for one row alone.
        """
        return self.name in ("cuda", "openvino")

    @property
    def device(self) -> str | None:
        """The device that variants are measured on; None for onnxruntime on a processor."""
        return DEVICES.get(self.name)

    @property
    def runs_here(self) -> bool:
        """Whether times that are measured on this machine are the target's."""
        return self.device is not None or self.name == _detect()

    @property
    def computes_here(self) -> bool:
        """Whether results that are measured on this machine are the target's: it has the same kernels."""
        return self.runs_here or this_processor().kind in TARGET_KINDS.get(self.name, ())

    def check_precision(self, dtype: str) -> None:
        """Check that a variant without files of its own can be measured here.

        Raises:
            DeviceError: this processor does not compute in it.
        """
        if dtype in STORED_AS:
            session = SessionConfig(self.device, precision=dtype)
            engine_for(session).check_device(session)

    def computes(self, dtype: str) -> bool:
        """Whether :meth:`check_precision` finds nothing."""
        try:
            self.check_precision(dtype)
        except DeviceError:
            return False
        return True


def find_target(name: str = THIS) -> Target:
    """The target of a name or an alias; ``"this"`` is the machine we run on.

    Raises:
        InputError: no target has that name.
    """
    if name == THIS:
        return Target(_detect())
    name = ALIASES.get(name, name)
    if name not in TARGETS:
        raise InputError(f"unknown target {name!r}; it is one of {', '.join([THIS, *TARGETS])}")
    return Target(name)


def _detect() -> str:
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64"
    flags = cpu_flags()
    if flags & VNNI_FLAGS:
        return "vnni"
    return "avx512" if "avx512f" in flags else "avx2"
