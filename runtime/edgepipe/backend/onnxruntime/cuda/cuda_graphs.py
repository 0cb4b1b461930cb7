"""Capture of CUDA graphs: a run recorded once and replayed, without starting its kernels one by one.

onnxruntime records a run by its ``gpu_graph_id`` and replays it when the same id comes with the same shapes at the
same addresses (its documentation of the CUDA execution provider, "Using CUDA Graphs"). Three things follow from how it
does so, and :class:`~edgepipe.backend.onnxruntime.inference_session.OrtSession` keeps them. A run that is not to be
recorded has to say so. No other run may go on meanwhile, for a recorded graph computes in memory that another run would
be given. And all runs have to come from one thread: recordings belong to the thread that made them, and stay when it
has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepipe.backend.onnxruntime.ort_module import CUDA, load_ort
from edgepipe.backend.session import Provider

_OPTION = "enable_cuda_graph"
# The id of a run that is neither recorded nor replayed.
NO_CAPTURE = -1


def enable_capture(providers: Sequence[Provider]) -> list[Provider] | None:
    """The providers for a session that records; None where CUDA is not the first, or the option is set already."""
    name, options = (providers[0], {}) if isinstance(providers[0], str) else providers[0]
    if name != CUDA or _OPTION in options:
        return None
    return [(name, {**options, _OPTION: "1"}), *providers[1:]]


def has_capture(options: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a session records, by its providers' options as onnxruntime's ``get_provider_options`` gives them."""
    return options.get(CUDA, {}).get(_OPTION, "0").lower() in ("1", "true")


def is_capture_refusal(error: Exception) -> bool:
    """Whether a session was refused because its graph cannot be recorded: a part of it runs on the processor."""
    return "graph capture" in str(error).lower()


def make_run_options(graph_id: int) -> Any:
    """``RunOptions`` of the runs with an id."""
    options = load_ort().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return options
