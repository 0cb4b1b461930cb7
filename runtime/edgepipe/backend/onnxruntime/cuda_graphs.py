"""Capture of CUDA graphs: a run recorded once and played again, without starting its kernels one by one.

onnxruntime records a run by its ``gpu_graph_id`` and plays it again when the same id comes with the same shapes at the
same addresses (its documentation of the CUDA execution provider, "Using CUDA Graphs"). Three things follow from how it
does so, and :class:`~edgepipe.backend.onnxruntime.session.Session` keeps them. A run that is not to be recorded has
to say so. No other run
may go on meanwhile, for a recorded graph computes in memory that another run would be given. And all runs have to come
from one thread: recordings belong to the thread that made them, and are kept when it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepipe.backend.onnxruntime.library import load_ort
from edgepipe.backend.onnxruntime.providers import Provider

_CUDA = "CUDAExecutionProvider"
_OPTION = "enable_cuda_graph"
# The id of a run that is neither recorded nor played.
EAGER = -1


def with_capture(providers: Sequence[Provider]) -> list[Provider] | None:
    """The providers for a session that records; None where CUDA is not the first, or what is asked for already."""
    name, options = (providers[0], {}) if isinstance(providers[0], str) else providers[0]
    if name != _CUDA or _OPTION in options:
        return None
    return [(name, {**options, _OPTION: "1"}), *providers[1:]]


def captures(options: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a session records, from its providers' options as onnxruntime's ``get_provider_options`` tells them."""
    return options.get(_CUDA, {}).get(_OPTION, "0").lower() in ("1", "true")


def is_refusal(error: Exception) -> bool:
    """Whether a session could not be made because its graph cannot be recorded: a part of it runs on the processor."""
    return "graph capture" in str(error).lower()


def run_options(graph_id: int) -> Any:
    """``RunOptions`` of the runs with an id."""
    options = load_ort().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options
