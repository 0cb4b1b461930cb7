"""The only file that imports onnxruntime: providers, threads, memory, and the graph's declared inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.errors import BundleError, DependencyError, DeviceError, InputError
from edgepipe.threads import available_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Provider = str | tuple[str, Mapping[str, Any]]

_INSTALL = "pip install 'edgepipe[cpu]' (or 'edgepipe[gpu]' for NVIDIA GPUs)"


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
        outputs: Names of the outputs in order.
        output_shapes: Their declared shapes, with names or None for the dimensions that vary.
        providers: The execution providers in use, first choice first.
    """

    def __init__(self, graph: Path, config: SessionConfig | None = None) -> None:
        config = config or SessionConfig()
        ort = _onnxruntime()
        providers = _providers(ort, config)
        options = _options(ort, config)  # outside of the try: its InputError is a ValueError too
        try:
            self._session = ort.InferenceSession(str(graph), options, providers=providers, enable_fallback=0)
        except _ort_errors() as error:
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
        except _ort_errors() as error:
            shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())
            raise BundleError(f"the graph failed on {shapes}: {_first_line(error)}") from error
        if self._as_float32:  # graphs that others made in half precision; a softmax in it would lose digits
            arrays = [array.astype("float32") for array in arrays]
        return dict(zip(self.outputs, arrays, strict=True))

    def bind(self) -> Binding:
        """Begin a series of runs whose inputs and outputs stay where they are."""
        return Binding(self._session)


class Binding:
    """Inputs and outputs of a graph that are named once and used by every run after it.

    Values are onnxruntime's ``OrtValue``. One that lies over a numpy array shares its memory.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._outputs: list[str] = []
        # onnxruntime before 1.24 does not keep what it binds.
        self._kept: dict[str, Any] = {}

    def feed(self, name: str, value: NDArray[Any] | Any) -> None:
        """Take an input from an array (contiguous, of the declared dtype) or from a value."""
        self._kept[name] = value
        if hasattr(value, "_ortvalue"):
            self._binding.bind_ortvalue_input(name, value)
        else:
            self._binding.bind_cpu_input(name, value)

    def give(self, name: str, value: Any = None) -> None:
        """Write an output into a value; None has onnxruntime allocate one at every run."""
        if name not in self._outputs:
            self._outputs.append(name)
        self._kept[name] = value
        if value is None:
            self._binding.bind_output(name)
        else:
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> dict[str, Any]:
        """Run the graph; returns the values of the outputs that were named.

        Raises:
            BundleError: the graph failed; the message has onnxruntime's first line.
        """
        try:
            self._session.run_with_iobinding(self._binding)
        except _ort_errors() as error:
            raise BundleError(f"the graph failed: {_first_line(error)}") from error
        return dict(zip(self._outputs, self._binding.get_outputs(), strict=True))


def value_over(array: NDArray[Any]) -> Any:
    """An ``OrtValue`` over the memory of a contiguous array."""
    return _onnxruntime().OrtValue.ortvalue_from_numpy(array)


def require_single_onnxruntime() -> None:
    """Make sure that exactly one of onnxruntime's packages is installed.

    Raises:
        DependencyError: none is, or both are: they write the same files, and which of them runs is chance.
    """
    _onnxruntime()


@cache
def _onnxruntime() -> Any:
    # onnxruntime's own wheels report use to their maker unless told not to before they are loaded (its Privacy.md):
    # what runs on a user's device must not speak to anyone unasked. A value the user has set is kept.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(f"onnxruntime cannot be imported ({error}); {_INSTALL}") from error
    folder = Path(onnxruntime.__file__).parent.parent
    packages = sorted({path.name.split("-")[0] for path in folder.glob("onnxruntime*.dist-info")})
    clashing = [package for package in packages if package in ("onnxruntime", "onnxruntime_gpu")]
    if len(clashing) > 1:
        raise DependencyError(
            "both onnxruntime and onnxruntime-gpu are installed, and each overwrites the other's files; "
            f"pip uninstall -y onnxruntime onnxruntime-gpu, then {_INSTALL}"
        )
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


@cache
def _ort_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception)]
    return (*found, ValueError, RuntimeError)


def _options(ort: Any, config: SessionConfig) -> Any:
    given = config.session_options
    if given is not None and not isinstance(given, ort.SessionOptions):
        raise InputError(f"session_options must be an onnxruntime.SessionOptions, got {type(given).__name__}")
    options = ort.SessionOptions() if given is None else given
    if config.num_threads is not None:
        options.intra_op_num_threads = config.num_threads
    elif options.intra_op_num_threads == 0:  # onnxruntime's "all physical cores of the host"
        options.intra_op_num_threads = available_threads()
    if config.low_memory:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    return options


def _providers(ort: Any, config: SessionConfig) -> list[Provider]:
    available: list[str] = ort.get_available_providers()
    if config.providers is not None:
        chosen = list(config.providers)
        if not chosen:
            raise InputError(f"providers is empty; this onnxruntime has {', '.join(available)}")
        for provider in chosen:
            name = provider if isinstance(provider, str) else provider[0]
            if name not in available:
                raise DeviceError(f"this onnxruntime ({ort.__version__}) has no {name!r}, only {', '.join(available)}")
        return chosen
    index = cuda_index(config.device)
    if index is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise DeviceError(
            f"device {config.device!r} was asked for, but the installed onnxruntime {ort.__version__} has no CUDA; "
            "pip uninstall -y onnxruntime, then pip install 'edgepipe[gpu]', or use device=\"cpu\""
        )
    ort.preload_dlls()
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def cuda_index(device: str | int | None) -> int | None:
    """The GPU a device names; None for the CPU.

    Raises:
        InputError: not ``"cpu"``, ``"cuda"``, ``"cuda:N"``, N or -1.
    """
    if device in (None, "cpu", -1) and not isinstance(device, bool):
        return None
    if device == "cuda":
        return 0
    if isinstance(device, int) and not isinstance(device, bool) and device >= 0:
        return device
    if isinstance(device, str) and device.startswith("cuda:") and device[5:].isdecimal():
        return int(device[5:])
    raise InputError(f'device must be "cpu", "cuda", "cuda:1" or an index, got {device!r}')


def _load_error(graph: Path, error: Exception, version: str) -> BundleError:
    return BundleError(f"onnxruntime {version} cannot load {graph}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _numpy_name(onnx_type: str) -> str:
    """``tensor(int64)`` -> ``int64``; float is float32, double float64."""
    element = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(element, element)
