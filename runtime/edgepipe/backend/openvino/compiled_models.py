"""Graphs that OpenVINO has compiled, kept on disk: a later start reads what an earlier one has made.

A file is found by a digest of all that decides it. It is written beside its place and renamed into it, so several
processes can work at once. Those that were not used for longest go first when there are too many.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.disk_cache import cache_folder, make_private_folder, mark_used, prune_records
from edgepipe.backend.machine import cpu_flags
from edgepipe.backend.openvino.ov_module import CPU, load_core, load_openvino

# Counted up where graphs are changed in another way before they are compiled.
_FORM = 3

# Within the folder of all that edgepipe keeps; bytes of all files in it.
FOLDER = "openvino"
LIMIT = 2 * 2**30

# Bytes of the digest at the end of a file.
_DIGEST_SIZE = hashlib.sha256().digest_size

# Bytes of it that its digest is made of, and after how many more of them.
_PAGE, _STEP = 2**12, 2**20

# Seconds that a compilation must have taken to be kept.
_MIN_SECONDS = 0.2


class MappedModel:
    """A compiled model whose weights are a file's memory, which its requests read: they hold on to it."""

    def __init__(self, compiled: Any, memory: Any) -> None:
        """Take over a model.

        Args:
            compiled: An ``openvino.CompiledModel``.
            memory: The tensor that it was read from.
        """
        self._compiled = compiled
        self._memory = memory
        self.inputs, self.outputs = compiled.inputs, compiled.outputs

    def get_property(self, name: str) -> Any:
        """See ``openvino.CompiledModel``."""
        return self._compiled.get_property(name)

    def create_infer_request(self) -> Any:
        """See ``openvino.CompiledModel``."""
        request = self._compiled.create_infer_request()
        request.memory = self._memory
        return request


def load_compiled(
    graph: Path, options: Mapping[str, Any], compile_graph: Callable[[], Any], *, min_seconds: float = _MIN_SECONDS
) -> Any:
    """An ``openvino.CompiledModel``, or what does its work: read from disk, or compiled now and kept.

    Args:
        graph: The graph's file, its weights beside it.
        options: What it is compiled with.
        compile_graph: Compiles it.
        min_seconds: Seconds that this must take to be kept.
    """
    root = cache_folder()
    if root is None:
        return compile_graph()
    path = root / FOLDER / f"{_digest(graph, options)}.blob"
    compiled = _read(path, options)
    if compiled is None:
        begin = time.perf_counter()
        compiled = compile_graph()
        if time.perf_counter() - begin >= min_seconds:
            _keep(path, compiled)
    return compiled


def _digest(graph: Path, options: Mapping[str, Any]) -> str:
    """A digest of the graph, of where its weights are and since when, and of what compiles it for which processor."""
    weights = [
        (str(file.resolve()), found.st_size, found.st_mtime_ns)
        for file in sorted(graph.parent.glob(f"{graph.name}*"))
        for found in [file.stat()]
    ]
    content = hashlib.sha256(graph.read_bytes()).hexdigest()
    decides = [_FORM, content, weights, dict(options), load_openvino().__version__, sorted(cpu_flags())]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path, options: Mapping[str, Any]) -> Any:
    """The compiled model of a file; None where there is none, or none that can be used."""
    try:
        # OpenVINO wants memory that may be written. What is only read stays the file's: processes share it.
        whole = np.memmap(path, np.uint8, "c")
        content, digest = whole[:-_DIGEST_SIZE], whole[-_DIGEST_SIZE:]
        if _sample(content) != digest.tobytes():
            return None
        tensor = load_openvino().Tensor(content, shared_memory=True)
        compiled = load_core().import_model(tensor, CPU, dict(options))
    except (OSError, RuntimeError, ValueError):  # not there; of another processor; empty
        return None
    mark_used(path)
    return MappedModel(compiled, tensor)


def _keep(path: Path, compiled: Any) -> None:
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        make_private_folder(path.parent)
        content = np.frombuffer(compiled.export_model().getbuffer(), np.uint8)
        if content.nbytes <= LIMIT // 4:
            with partial.open("wb") as file:
                file.write(content.data)
                file.write(_sample(content))
            partial.replace(path)
            prune_records(path.parent.iterdir(), LIMIT)
    except OSError as error:
        _tell_once(str(path.parent), error.strerror or type(error).__name__)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _sample(content: NDArray[np.uint8]) -> bytes:
    """A digest of the size, and of a page of every MiB: a start would take longer to read all than to use it."""
    digest = hashlib.sha256(str(content.size).encode())
    for start in (*range(0, content.size, _STEP), max(0, content.size - _PAGE)):
        digest.update(content[start : start + _PAGE].tobytes())
    return digest.digest()


@cache
def _tell_once(folder: str, why: str) -> None:
    warnings.warn(
        f"{folder} cannot be written ({why}), so OpenVINO compiles the graph at every start; EDGEPIPE_CACHE names "
        "another folder, or none if it is empty",
        stacklevel=2,
    )
