"""onnxruntime as an engine: one graph, loaded, with its threads, memory and declared inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device, DeviceSpec
from edgepipe.backend.onnxruntime.cuda.cuda_graphs import (
    NO_CAPTURE,
    enable_capture,
    has_capture,
    is_capture_refusal,
    make_run_options,
)
from edgepipe.backend.onnxruntime.diagnostics import (
    check_gpu,
    check_started,
    explain_run_failure,
    explain_start_failure,
)
from edgepipe.backend.onnxruntime.io_binding import IoBinding
from edgepipe.backend.onnxruntime.ort_device import device_of
from edgepipe.backend.onnxruntime.ort_module import CPU, CUDA, load_ort, ort_errors
from edgepipe.backend.onnxruntime.providers import is_plugin_device, provider_name, resolve_providers
from edgepipe.backend.serial_executor import SerialExecutor
from edgepipe.backend.session import Provider, SessionConfig
from edgepipe.backend.threads import threads_of_worker
from edgepipe.bundle.integrity import EXPORT_AGAIN
from edgepipe.errors import BundleError, ClosedError, InputError
from edgepipe.forks import keep_in_children, within_engine


def check_device(config: SessionConfig) -> None:
    """See :class:`~edgepipe.backend.session.Engine`."""
    providers = resolve_providers(config.device, config.providers)
    _check_workers(config, providers)
    check_gpu(providers)


def _check_workers(config: SessionConfig, providers: list[Provider]) -> None:
    """Refuse workers on a device that does one run at a time.

    Raises:
        InputError: they were asked for, and the first provider is not the processor's.
    """
    first = provider_name(providers[0]) if providers else config.device
    if config.workers != 1 and first != CPU:
        raise InputError(
            f'workers={config.workers} is for processors, and {first} is none: leave it out, or take device="cpu"'
        )


class OrtSession:
    """See :class:`~edgepipe.backend.session.Session`."""

    def __init__(self, graph: Path, config: SessionConfig, *, capture: bool = False) -> None:
        """See :func:`~edgepipe.backend.engines.create_session`."""
        providers = resolve_providers(config.device, config.providers)
        _check_workers(config, providers)
        options = make_options(config, graph)  # outside of the try: its InputError is a ValueError too
        with explain_start_failure(graph, providers):
            session = open_session(graph, options, providers, config, capture=capture)
        self._graph = graph
        self._session = session
        self.providers: list[str] = session.get_providers()
        check_started(providers, self.providers)
        self.placement = _check_nodes(graph, session, config, providers)
        try:
            inputs, outputs = session.get_inputs(), session.get_outputs()
            self.inputs: dict[str, str] = {node.name: _numpy_dtype(node.type) for node in inputs}
            self.optional_inputs: dict[str, str] = {
                node.name: _numpy_dtype(node.type) for node in session.get_overridable_initializers()
            }
            self.input_shapes: dict[str, list[int | str | None]] = {node.name: list(node.shape) for node in inputs}
            self.outputs: tuple[str, ...] = tuple(node.name for node in outputs)
            self.output_shapes: dict[str, list[int | str | None]] = {node.name: list(node.shape) for node in outputs}
            self.output_dtypes: dict[str, str] = {node.name: _numpy_dtype(node.type) for node in outputs}
        except UnicodeDecodeError as error:
            name = f"the name of an input, output or axis of {graph}"
            raise BundleError(f"{name} cannot be read as UTF-8 text: {error}; {EXPORT_AGAIN}") from error
        self.states: dict[str, str] = {}
        self.state_shapes: dict[str, list[int | str | None]] = {}
        self._as_float32 = any(dtype in ("float16", "float64") for dtype in self.output_dtypes.values())
        provider_options = session.get_provider_options()
        self.on_cpu = self.providers[0] == CPU
        self.device: Device = device_of(self.providers, provider_options)
        # WebGPU gave other tokens where past and present keys had one buffer in the host's memory.
        self.in_place = self.on_cpu or not self.device.is_host
        self.device_spec = DeviceSpec(
            self.providers[0].removesuffix("ExecutionProvider").lower(),
            None if self.device.is_host else self.device.index,
        )
        self.num_threads: int = session.get_session_options().intra_op_num_threads
        self.captures = has_capture(provider_options)
        self.serial = SerialExecutor(own_thread=self.captures)
        self._run_options = make_run_options(NO_CAPTURE) if self.captures else None

    @property
    def closed(self) -> bool:
        """See :class:`~edgepipe.backend.session.Session`."""
        return self._session is None

    def close(self) -> None:
        """See :class:`~edgepipe.backend.session.Session`."""
        self._session = None
        self.serial.close()

    def _opened(self) -> Any:
        """The ``onnxruntime.InferenceSession``."""
        session = self._session  # once: another thread may close it meanwhile
        if session is None:
            raise ClosedError(
                f"{self._graph} was closed, by close() or at the end of a with block; load its bundle again"
            )
        return session

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """See :class:`~edgepipe.backend.session.Session`."""
        session = self._opened()
        try:
            if self.captures:
                arrays = self.serial.run(lambda: session.run(None, feeds, self._run_options))
            else:
                with within_engine():
                    arrays = session.run(None, feeds)
        except ort_errors() as error:
            shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())
            raise explain_run_failure(f"the graph failed on {shapes}", error) from error
        if self._as_float32:  # graphs that others made in half precision; a softmax in it would lose digits
            arrays = [array.astype("float32") for array in arrays]
        return dict(zip(self.outputs, arrays, strict=True))

    def bind(self, graph_id: int | None = None) -> IoBinding:
        """See :class:`~edgepipe.backend.session.Session`."""
        session = self._opened()
        if not self.captures:
            return IoBinding(session)
        return IoBinding(session, make_run_options(NO_CAPTURE if graph_id is None else graph_id))


def open_session(
    graph: Path, options: Any, providers: list[Provider], config: SessionConfig, *, capture: bool = False
) -> Any:
    """The session of a configuration, one that captures where `capture` says so and it is possible.

    Args:
        graph: The graph's file.
        options: :func:`make_options` of the configuration.
        providers: What its device or list stands for, see :func:`resolve_providers`.
        config: The configuration.
        capture: Whether to record runs.
    """
    if _is_known(config, providers):
        if config.integer_products:
            return _start_rewritten(graph, options, providers)
        return start_session(str(graph), options, providers, capture=capture)
    from edgepipe.backend.onnxruntime.plugins.node_placement import record_placement
    from edgepipe.backend.onnxruntime.plugins.plugin_devices import choose_devices

    record_placement(options)
    return start_session(str(graph), options, [] if choose_devices(options, config) else providers, capture=capture)


def _start_rewritten(graph: Path, options: Any, providers: list[Provider]) -> Any:
    """The session of a graph with its products in integers."""
    from edgepipe.backend.onnxruntime.graphs.integer_products import use_integer_products

    ort = load_ort()
    rewritten = use_integer_products(graph, options.intra_op_num_threads)
    if rewritten is None:  # a repair may have left no product in 8 bits
        return start_session(str(graph), options, providers, capture=False)
    # A model of bytes is nowhere: it has to be told where its other weights are.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.parent))
    # Its threads would go on waiting for work on the processors that steps need.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    weights = [ort.OrtValue.ortvalue_from_numpy(array) for array in rewritten.weights.values()]
    options.add_external_initializers(list(rewritten.weights), weights)
    session = start_session(rewritten.model, options, providers, capture=False)
    session.weights = weights  # they stay the caller's, and have to be there as long as the session
    return session


def _is_known(config: SessionConfig, providers: list[Provider]) -> bool:
    """Whether a list begins with what edgepipe itself knows the kernels of, and no plug-in's device stands for it."""
    return bool(providers) and provider_name(providers[0]) in (CPU, CUDA) and not is_plugin_device(config.device)


def _check_nodes(
    graph: Path, session: Any, config: SessionConfig, providers: list[Provider]
) -> Mapping[str, Mapping[str, int]]:
    """Which provider runs how many operators of each kind; empty for those that edgepipe knows the kernels of.

    Raises:
        KernelError: the processor computes what another provider was asked for.
    """
    if _is_known(config, providers):
        return {}
    from edgepipe.backend.onnxruntime.plugins.node_placement import check_placement, read_placement, tell_choice

    placement = read_placement(session)
    names = list(map(provider_name, providers))
    if names:
        check_placement(graph, placement, names[0], allows_cpu=CPU in names)
    else:
        tell_choice(placement)
    return placement


# Rewrites of onnxruntime's that cost time on a CPU, where SkipLayerNormalization takes longer than the addition and the
# LayerNormalization that it stands for (`python -m benchmarks.graphs.fusions BUNDLE`).
SLOWER_ON_CPU = ("SkipLayerNormFusion",)


def start_session(model: str | bytes, options: Any, providers: list[Provider], *, capture: bool) -> Any:
    """The session of a file or of a model's bytes; an empty list leaves the providers to the options.

    See :func:`open_session`.
    """
    ort = load_ort()
    if not providers:  # the options name them
        return keep_in_children(ort.InferenceSession(model, options, enable_fallback=0))
    on_cpu = all(provider_name(provider) == CPU for provider in providers)
    refused = list(SLOWER_ON_CPU) if on_cpu else []
    capturing = enable_capture(providers) if capture else None
    if capturing is not None:
        try:
            return keep_in_children(ort.InferenceSession(model, options, providers=capturing, enable_fallback=0))
        except ort_errors() as error:
            if not is_capture_refusal(error):
                raise
    return keep_in_children(
        ort.InferenceSession(model, options, providers=providers, disabled_optimizers=refused, enable_fallback=0)
    )


def make_options(config: SessionConfig, graph: Path) -> Any:
    """``SessionOptions`` of a configuration for a graph.

    Raises:
        InputError: it has session options that are none of onnxruntime's.
    """
    ort = load_ort()
    given = config.session_options
    if given is not None and not isinstance(given, ort.SessionOptions):
        raise InputError(f"session_options must be an onnxruntime.SessionOptions, got {type(given).__name__}")
    options: Any = given
    if given is None:
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, and the log would only say it again
    if config.num_threads is not None:
        options.intra_op_num_threads = int(config.num_threads)
    elif options.intra_op_num_threads == 0:  # onnxruntime's "all physical cores of the host"
        options.intra_op_num_threads = threads_of_worker(config.workers)
    if config.low_memory:
        from edgepipe.backend.onnxruntime.graphs.packed_weights import is_smaller_packed

        if not is_smaller_packed(graph):
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    return options


def _numpy_dtype(onnx_type: str) -> str:
    """``tensor(int64)`` -> ``int64``; float is float32, double float64."""
    element = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(element, element)
