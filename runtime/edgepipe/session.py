"""One graph, loaded: threads, memory, and the graph's declared inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.binding import Binding
from edgepipe.devices import Provider, execution_providers
from edgepipe.errors import BundleError, DeviceError, InputError
from edgepipe.library import first_line, library_errors, onnxruntime_library
from edgepipe.threads import available_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# onnxruntime's number for logging nothing less.
_ERRORS = 3


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
    """

    device: str | int | None = None
    num_threads: int | None = None
    low_memory: bool = False
    providers: Sequence[Provider] | None = None
    session_options: Any = None

    def __post_init__(self) -> None:
        threads = self.num_threads
        if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise InputError(f"num_threads must be a whole number of at least 1, or None, got {threads!r}")
        if self.device is not None and self.providers is not None:
            raise InputError("device and providers exclude each other: give one of them")
        given = self.providers
        if given is not None and not (isinstance(given, (list, tuple)) and all(map(_is_provider, given))):
            raise InputError(f"providers must be a list of names or (name, options) pairs, got {given!r}")


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
        providers: The execution providers in use, first choice first.
    """

    def __init__(self, graph: Path, config: SessionConfig | None = None) -> None:
        config = config or SessionConfig()
        ort = onnxruntime_library()
        providers = execution_providers(ort, config.device, config.providers)
        options = _options(ort, config)  # outside of the try: its InputError is a ValueError too
        try:
            self._session = ort.InferenceSession(str(graph), options, providers=providers, enable_fallback=0)
        except library_errors() as error:
            raise _load_error(graph, error, ort.__version__) from error
        self.providers: list[str] = self._session.get_providers()
        wanted = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        if wanted[0] not in self.providers:
            raise DeviceError(
                f"onnxruntime could not start {wanted[0]}, only {', '.join(self.providers)}: a library it needs is "
                "missing or does not fit; run with ONNXRUNTIME logging (session_options.log_severity_level=0) to see "
                "which"
            )
        taken, declared = self._session.get_inputs(), self._session.get_outputs()
        self.inputs: dict[str, str] = {node.name: _numpy_name(node.type) for node in taken}
        self.optional_inputs: dict[str, str] = {
            node.name: _numpy_name(node.type) for node in self._session.get_overridable_initializers()
        }
        self.input_shapes: dict[str, list[int | str | None]] = {node.name: list(node.shape) for node in taken}
        self.outputs: tuple[str, ...] = tuple(node.name for node in declared)
        self.output_shapes: dict[str, list[int | str | None]] = {node.name: list(node.shape) for node in declared}
        self._as_float32 = any(node.type in ("tensor(float16)", "tensor(double)") for node in declared)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on arrays for exactly its declared inputs.

        Raises:
            BundleError: the graph failed; the message has onnxruntime's first line and the shapes.
        """
        try:
            arrays = self._session.run(None, feeds)
        except library_errors() as error:
            shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())
            raise BundleError(f"the graph failed on {shapes}: {first_line(error)}") from error
        if self._as_float32:  # graphs that others made in half precision; a softmax in it would lose digits
            arrays = [array.astype("float32") for array in arrays]
        return dict(zip(self.outputs, arrays, strict=True))

    def bind(self) -> Binding:
        """Begin a series of runs whose inputs and outputs stay where they are."""
        return Binding(self._session)


def _options(ort: Any, config: SessionConfig) -> Any:
    given = config.session_options
    if given is not None and not isinstance(given, ort.SessionOptions):
        raise InputError(f"session_options must be an onnxruntime.SessionOptions, got {type(given).__name__}")
    options = ort.SessionOptions() if given is None else given
    if given is None:
        options.log_severity_level = _ERRORS  # it warns of inputs with a default, for instance, which are wanted
    if config.num_threads is not None:
        options.intra_op_num_threads = config.num_threads
    elif options.intra_op_num_threads == 0:  # onnxruntime's "all physical cores of the host"
        options.intra_op_num_threads = available_threads()
    if config.low_memory:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    return options


def _load_error(graph: Path, error: Exception, version: str) -> BundleError:
    return BundleError(f"onnxruntime {version} cannot load {graph}: {first_line(error)}")


def _numpy_name(onnx_type: str) -> str:
    """``tensor(int64)`` -> ``int64``; float is float32, double float64."""
    element = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(element, element)
