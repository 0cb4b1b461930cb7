"""Errors that say the cause, for what onnxruntime raises or leaves out in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgepipe.backend.onnxruntime.ort_module import CPU, CUDA, load_ort, ort_errors
from edgepipe.backend.onnxruntime.providers import gpu_index, provider_name
from edgepipe.backend.session import Provider
from edgepipe.bundle.integrity import EXPORT_AGAIN, find_obstacle
from edgepipe.errors import (
    BundleError,
    DeviceError,
    EdgepipeError,
    InputError,
    KernelError,
    OutOfMemoryError,
    first_line,
)

# Patterns are compiled when something failed: that takes milliseconds, which a start need not wait for.

# onnxruntime's arena, CUDA's allocator, cuBLAS's, and the processor's.
_OUT_OF_MEMORY = (
    r"Failed to allocate memory for requested buffer of size (?P<buffer>\d+)"
    r"|is smaller than requested bytes of (?P<limited>\d+)"
    r"|CUDA failure 2: out of memory|CUBLAS_STATUS_ALLOC_FAILED|std::bad_alloc|bad allocation"
)

_BAD_OPTION = r"Failed to parse provider option \"(?P<name>\w+)\"|Unknown provider option: \"(?P<new>\w+)\""

_CUDA_FAILURE = r"CUDA failure (?P<code>\d+): (?P<text>[^;]+?) ;"

# What `session.disable_cpu_ep_fallback` in a user's session options has onnxruntime say.
_NO_FALLBACK = r"graph nodes that are assigned to the default CPU EP"

# A plug-in that lists a device and cannot start there; its own cause comes last.
_NOT_STARTED = r"PluginExecutionProviderFactory::CreateProvider.*\[ONNXRuntimeError\] : \d+ : \w+ : (?P<cause>.+)"

_NO_KERNEL = r"Could not find an implementation for (?P<operator>\w+)\("

# What follows a graph's name in those of the graph and of its weights, as most tools call them.
_WEIGHTS = r"(_data(_\d+)?|\.data)?"

# How onnxruntime says that a graph's weights are not there, or end too early.
_NO_WEIGHTS = r"External data path does not exist: \"(?P<path>[^\"]+)\""
_SHORT_WEIGHTS = r"size to read: \d+ given file_length: (?P<size>\d+) are out of bounds"
# A graph of which the end is missing, or that is none.
_NO_GRAPH = r"Protobuf parsing failed|No graph was found in the protobuf"


@contextmanager
def explain_start_failure(graph: Path, providers: Sequence[Provider]) -> Iterator[None]:
    """Around the start of a session with these providers: what onnxruntime raises becomes an error with the cause.

    Raises:
        BundleError: the graph cannot be loaded.
        DeviceError: the GPU cannot be used.
        InputError: an option of a provider has a value that onnxruntime cannot read.
        KernelError: the providers have no kernel for an operator of the graph.
        OutOfMemoryError: the device has too little memory.
    """
    ort = load_ort()
    index = gpu_index(providers)
    if index is not None:  # what it logs about a GPU that it cannot use, our error says better
        ort.set_default_logger_severity(4)
    try:
        yield
    except ort_errors() as error:
        raise _classify(graph, providers, error) from error
    finally:
        if index is not None:
            ort.set_default_logger_severity(3)


def check_gpu(providers: Sequence[Provider]) -> None:
    """Check that the driver has the GPU of a list, before a session is started.

    Raises:
        DeviceError: it has not; the message has the cause.
    """
    index = gpu_index(providers)
    if index is None:
        return
    from edgepipe.backend.onnxruntime.cuda.cuda_diagnostics import find_cause, query_driver

    why = find_cause(query_driver(), index)
    if why:
        raise _not_started(index, why)


def check_started(providers: Sequence[Provider], started: Sequence[str]) -> None:
    """Check that a session was started with all these providers: onnxruntime leaves out what it cannot start.

    Raises:
        DeviceError: one is missing; the message has the cause.
    """
    for provider in providers:
        if provider_name(provider) not in started:
            raise DeviceError(
                f"onnxruntime could not start {provider_name(provider)}, only {', '.join(started)}: "
                + (
                    _why_no_gpu(gpu_index([provider]))
                    or "a library it needs is missing or does not fit; onnxruntime.set_default_logger_severity(0) and "
                    "an onnxruntime.InferenceSession on the same graph show which"
                )
            )


def explain_run_failure(what: str, error: Exception) -> EdgepipeError:
    """The error for a run that failed; its message begins with `what`."""
    memory = _describe_memory(error)
    if memory is None:
        return BundleError(f"{what}: {first_line(error)}")
    return OutOfMemoryError(
        f"{what}: memory ran out{memory}; put fewer or shorter texts through at once (batch_size=, max_length=), or "
        "raise the CUDA provider's gpu_mem_limit where you have set it"
    )


def _classify(graph: Path, providers: Sequence[Provider], error: Exception) -> EdgepipeError:
    index = gpu_index(providers)
    memory = _describe_memory(error)
    if memory is not None:
        return OutOfMemoryError(
            f"{graph} cannot be loaded: memory ran out{memory}; take a smaller variant (dtype=), another device, or "
            "make room on this one"
        )
    text, version = str(error), load_ort().__version__
    failure = re.search(_CUDA_FAILURE, text)
    why = _why_no_gpu(index) or (failure and f"CUDA failure {failure['code']}, {failure['text']}")
    if why:
        return _not_started(index, why)
    option = re.search(_BAD_OPTION, text)
    if option is not None:
        name = option["name"] or option["new"]
        return InputError(f"onnxruntime {version} cannot use the provider option {name!r}: {first_line(error)}")
    missing = re.search(_NO_KERNEL, text)
    if missing is not None:
        names = ", ".join(map(provider_name, providers))
        return KernelError(
            f"{graph} needs {missing['operator']}, for which onnxruntime {version} has no kernel on {names}"
        )
    start = re.search(_NOT_STARTED, text, re.DOTALL)
    if start is not None:
        names = ", ".join(name for name in map(provider_name, providers) if name != CPU)
        return DeviceError(
            f"onnxruntime {version} could not start {names}: {' '.join(start['cause'].split())}; its options may help "
            '(providers=), or take device="cpu"'
        )
    if re.search(_NO_FALLBACK, text):
        return KernelError(
            f"{graph}: nodes are left to the processor, which session.disable_cpu_ep_fallback of your session_options "
            "forbids; leave that out, and only what computes more than shapes, ids and masks is forbidden"
        )
    damaged = _find_damage(graph, text)
    if not providers and damaged is None:
        return DeviceError(
            f'onnxruntime {version} could not load {graph} on what it chose for device="auto": {first_line(error)}; '
            "name a device yourself"
        )
    return BundleError(f"onnxruntime {version} cannot load {graph}: {damaged or first_line(error)}")


def _not_started(index: int | None, why: str) -> DeviceError:
    return DeviceError(f"onnxruntime could not start {CUDA} for GPU {index}: {why}")


def _why_no_gpu(index: int | None) -> str | None:
    if index is None:
        return None
    from edgepipe.backend.onnxruntime.cuda.cuda_diagnostics import find_cause, inspect_cuda

    return find_cause(inspect_cuda(), index)


def _describe_memory(error: Exception) -> str | None:
    """How much memory was requested when none was left, in words; None where memory is not what failed."""
    found = re.search(_OUT_OF_MEMORY, str(error))
    if found is None:
        return None
    size = found["buffer"] or found["limited"]
    return f" when {int(size):,} bytes were asked for at once" if size else ""


def _find_damage(graph: Path, said: str) -> str | None:
    """Which file kept onnxruntime from loading a graph; None where it is not the files.

    Args:
        graph: The graph's file.
        said: onnxruntime's message, which leaves the name out in most cases.
    """
    missing = re.search(_NO_WEIGHTS, said)
    beside = [
        path
        for path in sorted(graph.parent.glob(f"{graph.name}*"))
        if re.fullmatch(_WEIGHTS, path.name.removeprefix(graph.name))
    ]
    suspects = [*beside, *([Path(missing["path"])] if missing else [])]
    for found in map(find_obstacle, suspects):
        if found is not None:
            return found
    short = re.search(_SHORT_WEIGHTS, said)
    if short is not None:
        size = int(short["size"])
        name = next((str(path) for path in beside if path.stat().st_size == size), f"the file of {graph}'s weights")
        problem = f"{name} has {size} bytes, the graph needs more: it was truncated, or belongs to another graph"
        return f"{problem}; {EXPORT_AGAIN}"
    if re.search(_NO_GRAPH, said):
        size = graph.stat().st_size
        return f"{graph} is no whole ONNX graph, its {size} bytes are truncated or altered; {EXPORT_AGAIN}"
    return None
