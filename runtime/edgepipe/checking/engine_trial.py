"""Whether an engine runs on this processor at all: it is tried in a process of its own, which may die of it.

An engine that has an instruction which the processor lacks ends the process that imports it, without a word
(onnxruntime#23957, transformers.js#1640).
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from edgepipe.backend.engines import DEFAULT, create_session, engine_name, write_product
from edgepipe.backend.machine import cpu_flags, package_versions, processor_name
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import DeviceError

# What a process ends with on Windows where an instruction is illegal: STATUS_ILLEGAL_INSTRUCTION.
_ILLEGAL_ON_WINDOWS = (0xC000001D, 0xC000001D - 2**32)

# Versions of onnxruntime that were seen to run on emulated processors (tests/emulation): a Cortex-A53, a Nehalem, and
# what has these instructions.
SEEN_TO_WORK = {
    ("aarch64", frozenset({"asimd"})): ("1.24.1", "1.32.0"),
    ("x86_64", frozenset({"sse4_1"})): ("1.24.1", "1.32.0"),
}

# A process that knows what this one does, and tries an engine.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from edgepipe.checking.engine_trial import run_products; run_products(*sys.argv[2:])"
)


def check_engine(config: SessionConfig) -> None:
    """Check that the engine of a configuration runs on this processor; nothing is done where this process has it.

    Raises:
        DeviceError: a process that loaded it died; the message says of what.
        InputError: the configuration names no device.
    """
    name = engine_name(config)
    cause = None if name in sys.modules else find_death(name)
    if cause is not None:
        raise DeviceError(cause)


def find_death(name: str) -> str | None:
    """What a process dies of that loads an engine and runs a graph; None where it does not, or there is no engine.

    Args:
        name: The engine's, which is that of its module.
    """
    try:
        installed = find_spec(name) is not None
    except ImportError:  # whoever loads it is told
        installed = False
    if not sys.executable or not installed:
        return None
    nothing = subprocess.DEVNULL
    environment = os.environ | {"EDGEPIPE_CACHE": ""}  # nothing of a trial is kept
    with TemporaryDirectory(prefix="edgepipe-trial-") as folder:  # of this process: the other one may die
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), name, folder]
        done = subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, env=environment, check=False)
    return explain_death(name, done.returncode)


def explain_death(name: str, status: int) -> str | None:
    """What a process died of that tried an engine, and what to do; None where it ended by itself.

    Args:
        name: The engine's.
        status: How the process ended: below 0 the number of a signal, as :mod:`subprocess` has it.
    """
    if status >= 0 and status not in _ILLEGAL_ON_WINDOWS:
        return None  # an exception, which whoever loads the engine tells of
    version = package_versions((name,)).get(name)
    what = name if version is None else f"{name} {version}"
    if status == -signal.SIGILL or status in _ILLEGAL_ON_WINDOWS:
        return (
            f"{what} needs instructions that this processor ({processor_name()}) does not have, and dies of it; "
            f"{_advise(name, version, platform.machine(), cpu_flags())}"
        )
    try:
        end = signal.Signals(-status).name
    except ValueError:
        end = f"signal {-status}"
    return (
        f"{what} dies of {end} on this processor ({processor_name()}) before it has run a graph; install another "
        "version of it"
    )


def _advise(name: str, version: str | None, architecture: str, flags: Collection[str]) -> str:
    if name != DEFAULT:
        return "take device='cpu' (--device cpu)"
    wanted: list[str] = []
    for (kind, needed), versions in SEEN_TO_WORK.items():
        if kind != architecture:
            continue
        others = [each for each in versions if each != version]
        if needed <= set(flags) and others:
            return f"version {others[-1]} was seen to work on such a processor: pip install 'onnxruntime=={others[-1]}'"
        wanted += sorted(needed - set(flags))
    lacking = f": it has no {', '.join(wanted)}" if wanted else ""
    return f"no version is known to work on such a processor{lacking}; take a newer one, or build onnxruntime for it"


def run_products(name: str, folder: str) -> None:
    """Load an engine and have it compute two products, of floating-point numbers and of 8-bit ones.

    Args:
        name: The engine's.
        folder: An empty one, for graphs.
    """
    import numpy as np  # not where it is read how a process ended: it may be what ends it

    config = SessionConfig(None if name == DEFAULT else name, 1)
    integers = [("uint8", "int8", "int32")] if name == DEFAULT else []
    graph = Path(folder) / "product.onnx"
    for dtypes in (("float32", "float32", "float32"), *integers):
        write_product(graph, dtypes)
        left, right = (np.ones((32, 32), dtype) for dtype in dtypes[:2])
        session = create_session(graph, config)
        session.run({"left": left, "right": right})
        session.close()
