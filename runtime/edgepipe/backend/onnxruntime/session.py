"""One graph, loaded: threads, memory, and the graph's declared inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.backend.onnxruntime.cuda_graphs import EAGER, captures, is_refusal, run_options, with_capture
from edgepipe.backend.onnxruntime.device_memory import place_of
from edgepipe.backend.onnxruntime.diagnostics import require_gpu, require_started, run_failure, starting
from edgepipe.backend.onnxruntime.io_binding import Binding
from edgepipe.backend.onnxruntime.library import load_ort, ort_errors
from edgepipe.backend.onnxruntime.providers import Provider, execution_providers, name_of
from edgepipe.backend.onnxruntime.serial_executor import Alone
from edgepipe.backend.shape_buckets import Shape, checked_buckets
from edgepipe.backend.threads import available_threads
from edgepipe.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Where and how a graph runs.

    Attributes:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or an index as transformers takes it (-1 is the CPU).
        num_threads: Threads inside one operator; by default what the process may use.
        low_memory: Leave the weights mapped from their file instead of packing copies of them: slower, but most of
            the memory is shared between processes and can be given back by the kernel.
        providers: onnxruntime's own list of execution providers, in place of `device`.
        session_options: An ``onnxruntime.SessionOptions`` to start from. onnxruntime cannot copy one: threads and
            memory settings are written into it, so give each session its own.
        buckets: Shapes (batch, length) that an encoder's inputs are padded to; see
            :class:`~edgepipe.backend.onnxruntime.bucketed_runs.BucketedRuns`. None: some on a GPU, none elsewhere.
    """

    device: str | int | None = None
    num_threads: int | None = None
    low_memory: bool = False
    providers: Sequence[Provider] | None = None
    session_options: Any = None
    buckets: Sequence[Shape] | None = None

    def __post_init__(self) -> None:
        threads = self.num_threads
        if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise InputError(f"num_threads must be a whole number of at least 1, or None, got {threads!r}")
        if self.device is not None and self.providers is not None:
            raise InputError("device and providers exclude each other: give one of them")
        given = self.providers
        if given is not None and not (isinstance(given, (list, tuple)) and all(map(_is_provider, given))):
            raise InputError(f"providers must be a list of names or (name, options) pairs, got {given!r}")
        if self.buckets is not None:
            checked_buckets(self.buckets)


def require_device(config: SessionConfig) -> None:
    """Make sure that onnxruntime is here and can use the device, as far as that can be told without a graph.

    Raises:
        DependencyError: onnxruntime is missing, or there twice.
        DeviceError: the device or a provider cannot be used here.
        InputError: what was asked for is none.
    """
    ort = load_ort()
    require_gpu(ort, execution_providers(ort, config.device, config.providers))


def _is_provider(entry: object) -> bool:
    if isinstance(entry, tuple) and len(entry) == 2:
        return isinstance(entry[0], str) and isinstance(entry[1], Mapping)
    return isinstance(entry, str)


class Session:
    """One graph, loaded.

    Attributes:
        inputs: Declared inputs in order: name -> numpy dtype name (``"int64"``, ``"float32"`` ...).
        input_shapes: Their declared shapes, with names or None for the dimensions that vary.
        optional_inputs: Inputs with a default, which need not be fed, likewise name -> numpy dtype name.
        outputs: Names of the outputs in order.
        output_shapes: Their declared shapes, with names or None for the dimensions that vary.
        output_dtypes: Their numpy dtype names.
        providers: The execution providers in use, first choice first.
        place: Where it computes.
        captures: Whether runs can be recorded and played again; see :mod:`edgepipe.backend.onnxruntime.cuda_graphs`.
        alone: Makes what uses memory that is bound for good, and every run of a session that captures, one at a time.
    """

    def __init__(self, graph: Path, config: SessionConfig | None = None, *, capture: bool = False) -> None:
        """Load a graph.

        Args:
            graph: Its file.
            config: Where and how it runs.
            capture: Whether to record runs, where the device and the graph allow it.

        Raises:
            BundleError: the graph cannot be loaded.
            DeviceError: the device or a provider cannot be used here.
        """
        config = config or SessionConfig()
        ort = load_ort()
        providers = execution_providers(ort, config.device, config.providers)
        options = _options(ort, config)  # outside of the try: its InputError is a ValueError too
        with starting(ort, graph, providers):
            self._session = _started(ort, graph, options, providers, capture=capture)
        self.providers: list[str] = self._session.get_providers()
        require_started(ort, providers, self.providers)
        taken, declared = self._session.get_inputs(), self._session.get_outputs()
        self.inputs: dict[str, str] = {node.name: _numpy_name(node.type) for node in taken}
        self.optional_inputs: dict[str, str] = {
            node.name: _numpy_name(node.type) for node in self._session.get_overridable_initializers()
        }
        self.input_shapes: dict[str, list[int | str | None]] = {node.name: list(node.shape) for node in taken}
        self.outputs: tuple[str, ...] = tuple(node.name for node in declared)
        self.output_shapes: dict[str, list[int | str | None]] = {node.name: list(node.shape) for node in declared}
        self.output_dtypes: dict[str, str] = {node.name: _numpy_name(node.type) for node in declared}
        self._as_float32 = any(dtype in ("float16", "float64") for dtype in self.output_dtypes.values())
        provider_options = self._session.get_provider_options()
        self.place = place_of(self.providers, provider_options)
        self.captures = captures(provider_options)
        self.alone = Alone(own_thread=self.captures)
        self._eager = run_options(EAGER) if self.captures else None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on arrays for exactly its declared inputs.

        Raises:
            BundleError: the graph failed; the message has onnxruntime's first line and the shapes.
            OutOfMemoryError: there was too little memory for so large a batch.
        """
        try:
            if self.captures:
                arrays = self.alone(lambda: self._session.run(None, feeds, self._eager))
            else:
                arrays = self._session.run(None, feeds)
        except ort_errors() as error:
            shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())
            raise run_failure(f"the graph failed on {shapes}", error) from error
        if self._as_float32:  # graphs that others made in half precision; a softmax in it would lose digits
            arrays = [array.astype("float32") for array in arrays]
        return dict(zip(self.outputs, arrays, strict=True))

    def bind(self, graph_id: int = EAGER) -> Binding:
        """Begin a series of runs whose inputs and outputs stay where they are.

        Args:
            graph_id: By which number its runs are recorded and played again, in a session that captures.
        """
        return Binding(self._session, run_options(graph_id) if self.captures else None)


# Rewrites of onnxruntime's that cost time on a CPU, where SkipLayerNormalization takes longer than the addition and the
# LayerNormalization that it stands for (`python -m benchmarks.fusions BUNDLE`).
SLOWER_ON_CPU = ("SkipLayerNormFusion",)


def _started(ort: Any, graph: Path, options: Any, providers: list[Provider], *, capture: bool) -> Any:
    """The session, one that captures where that is wanted and can be had."""
    on_cpu = all(name_of(provider) == "CPUExecutionProvider" for provider in providers)
    refused = list(SLOWER_ON_CPU) if on_cpu else []
    capturing = with_capture(providers) if capture else None
    if capturing is not None:
        try:
            return ort.InferenceSession(str(graph), options, providers=capturing, enable_fallback=0)
        except ort_errors() as error:
            if not is_refusal(error):
                raise
    return ort.InferenceSession(
        str(graph), options, providers=providers, disabled_optimizers=refused, enable_fallback=0
    )


def _options(ort: Any, config: SessionConfig) -> Any:
    given = config.session_options
    if given is not None and not isinstance(given, ort.SessionOptions):
        raise InputError(f"session_options must be an onnxruntime.SessionOptions, got {type(given).__name__}")
    options: Any = given
    if given is None:
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, and the log would only say it again
    if config.num_threads is not None:
        options.intra_op_num_threads = config.num_threads
    elif options.intra_op_num_threads == 0:  # onnxruntime's "all physical cores of the host"
        options.intra_op_num_threads = available_threads()
    if config.low_memory:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    return options


def _numpy_name(onnx_type: str) -> str:
    """``tensor(int64)`` -> ``int64``; float is float32, double float64."""
    element = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(element, element)
