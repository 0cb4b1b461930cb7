"""Errors that say the cause, for what OpenVINO raises in many lines or computes otherwise."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepipe.backend.openvino.ov_module import load_openvino
from edgepipe.bundle.integrity import EXPORT_AGAIN
from edgepipe.errors import BundleError, EdgepipeError, KernelError, OutOfMemoryError

_ERRORS = (RuntimeError, ValueError, TypeError, MemoryError)

_OUT_OF_MEMORY = re.compile(r"bad_alloc|bad allocation|[Cc]annot allocate|[Ff]ailed to allocate")
_NO_RULE = re.compile(r"No conversion rule found for operations: (?P<operators>.+)")
_NO_WEIGHTS = re.compile(r"externally stored data in file \((?P<file>[^,)]+)")
# Where in OpenVINO's own files an error was found, above what it is.
_TRACE = re.compile(r"Exception from |Check '|FrontEnd API failed|\s*$")

# Its translation takes one row and no padding; onnxruntime's operator has a number of tokens for each row.
_MISTRANSLATED = b"GroupQueryAttention"


def require_translation(graph: Path) -> None:
    """Check that a graph has no operator that OpenVINO reads, and computes for some inputs alone.

    Raises:
        KernelError: it has one.
    """
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_MISTRANSLATED) < 0:
            return
    raise KernelError(
        f"{graph} needs {_MISTRANSLATED.decode()}, which OpenVINO {_version()} computes for one row without padding "
        "alone; export the checkpoint with --target openvino, which has attention in standard operators, or take "
        'device="cpu"'
    )


@contextmanager
def explain_load_failure(graph: Path) -> Iterator[None]:
    """Around the compilation of a graph: what OpenVINO raises becomes an error with the cause.

    Raises:
        BundleError: the graph cannot be read.
        KernelError: OpenVINO has no translation of an operator of the graph.
        OutOfMemoryError: there was too little memory.
    """
    try:
        yield
    except _ERRORS as error:
        raise _classify(graph, error) from error


@contextmanager
def explain_run_failure(feeds: Mapping[str, Any]) -> Iterator[None]:
    """Around a run.

    Raises:
        BundleError: it failed.
        OutOfMemoryError: there was too little memory.
    """
    try:
        yield
    except _ERRORS as error:
        shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())
        if _is_memory(error):
            raise OutOfMemoryError(
                f"the graph failed on {shapes}: memory ran out; put fewer or shorter texts through at once "
                "(batch_size=, max_length=)"
            ) from error
        raise BundleError(f"the graph failed on {shapes}: {find_reason(error)}") from error


def find_reason(error: Exception) -> str:
    """The line of an error of OpenVINO's that says what is wrong: the last one, under where it was found."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines() if not _TRACE.match(line)]
    return lines[-1] if lines else type(error).__name__


def _classify(graph: Path, error: Exception) -> EdgepipeError:
    text = str(error)
    if _is_memory(error):
        return OutOfMemoryError(
            f"{graph} cannot be loaded: memory ran out; take a smaller variant (dtype=), another device, or make room "
            "on this one"
        )
    missing = _NO_RULE.search(text)
    if missing is not None:
        return KernelError(f"{graph} needs {missing['operators']}, for which OpenVINO {_version()} has no translation")
    weights = _NO_WEIGHTS.search(text)
    if weights is not None:
        name = graph.parent / Path(weights["file"]).name
        return BundleError(
            f"OpenVINO {_version()} cannot load {graph}: {name} has fewer bytes than the graph needs: it was "
            f"truncated, or belongs to another graph; {EXPORT_AGAIN}"
        )
    return BundleError(f"OpenVINO {_version()} cannot load {graph}: {find_reason(error)}")


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def _version() -> str:
    return str(load_openvino().__version__).partition("-")[0]
