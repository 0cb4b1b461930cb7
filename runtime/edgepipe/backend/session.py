"""What an engine provides: how a session is configured, and what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import check_whole, is_whole
from edgepipe.backend.device import Device, DeviceSpec, DeviceTensor, TensorView
from edgepipe.backend.serial_executor import SerialExecutor
from edgepipe.backend.shape_buckets import Shape, check_buckets
from edgepipe.errors import DeviceError, InputError

# A name, or a name and its options, as onnxruntime takes them.
Provider = str | tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Where and how a graph runs.

    Attributes:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, an index as transformers takes it (-1 is the CPU), or the name of
            another engine: ``"openvino"``; or of a plug-in of onnxruntime's, ``"webgpu"``, ``"webgpu:GPU"``,
            ``"webgpu,cpu"`` where the processor may compute what it cannot; or ``"auto"``, onnxruntime's own choice.
        num_threads: Threads inside one operator; by default what the process may use, divided by `workers`.
        low_memory: Leave the weights mapped from their file instead of packing copies of them: slower, but most of
            the memory is shared between processes and can be given back by the kernel.
        providers: onnxruntime's own list of execution providers, in place of `device`.
        session_options: An ``onnxruntime.SessionOptions`` to start from. onnxruntime cannot copy one: threads and
            memory settings are written into it, so give each session its own.
        buckets: Shapes (batch, length) that an encoder's inputs are padded to; see
            :class:`~edgepipe.backend.bucketed_runs.BucketedRuns`. None: some on a GPU, none elsewhere.
        precision: What a graph in fp32 is computed in, a name of the device's `precisions`; None for fp32.
        rest: What a quantized graph leaves in fp32 may be computed in, by a device that has it; None for fp32 alone.
        activation_block: Numbers of a row of activations that share a scale in products with weights in blocks, which
            are in 8 bits then; for engines that do not read it in the graph. None for activations in fp32.
        integer_products: Whether products with weights in blocks are computed in integers, with a scale for each output
            and each row, by a device that has them: for graphs that read many tokens at once.
        workers: How many runs go side by side on a processor, from as many threads.
    """

    device: str | int | None = None
    num_threads: int | None = None
    low_memory: bool = False
    providers: Sequence[Provider] | None = None
    session_options: Any = None
    buckets: Sequence[Shape] | None = None
    precision: str | None = None
    rest: str | None = None
    activation_block: int | None = None
    integer_products: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        if self.num_threads is not None and not is_whole(self.num_threads, 1):
            raise InputError(f"num_threads must be a whole number of at least 1, or None, got {self.num_threads!r}")
        check_whole("workers", self.workers, 1)
        if self.device is not None and self.providers is not None:
            raise InputError("device and providers exclude each other: give one of them")
        given = self.providers
        if given is not None and not (isinstance(given, (list, tuple)) and all(map(_is_provider, given))):
            raise InputError(f"providers must be a list of names or (name, options) pairs, got {given!r}")
        if self.buckets is not None:
            check_buckets(self.buckets)


def _is_provider(entry: object) -> bool:
    if isinstance(entry, tuple) and len(entry) == 2:
        return isinstance(entry[0], str) and isinstance(entry[1], Mapping)
    return isinstance(entry, str)


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What a device runs well. The default is a processor, which runs everything.

    Attributes:
        name: For messages, e.g. ``"CUDA"``.
        is_cpu: Whether it is a processor.
        preferred_variants: The variants to take, the best first; none where the bundle's own default is taken.
        variant_orders: Of a processor: the variants by its kind (:data:`~edgepipe.backend.machine.KINDS`), the fastest
            first.
        unsupported_variants: Variants for which it has no kernels.
        shares_cache: Whether its attention can have past and present keys in one buffer.
        buckets: The shapes (batch, length) to pad to where nobody says otherwise.
        precisions: Variants without files of their own, and those whose files they read: graphs that the device can
            compute in another precision.
        few_shapes: Whether the first run of each shape takes several times as long as those after it.
        gate: By which name the manifest records what was measured there; None where that is what was measured on a
            processor.
        integer_products: Whether it can compute products with weights in blocks in integers.
    """

    name: str = "CPU"
    is_cpu: bool = True
    preferred_variants: tuple[str, ...] = ()
    variant_orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unsupported_variants: tuple[str, ...] = ()
    shares_cache: bool = True
    buckets: tuple[Shape, ...] = ()
    precisions: Mapping[str, str] = field(default_factory=dict)
    few_shapes: bool = False
    gate: str | None = None
    integer_products: bool = False


class Binding(Protocol):
    """Inputs and outputs of a graph that are named once and used by every run after it."""

    def bind_input(self, name: str, value: NDArray[Any] | DeviceTensor | TensorView) -> None:
        """Read an input from an array (contiguous, of the declared dtype), a tensor, or a part of one."""
        ...

    def bind_output(
        self, name: str, value: DeviceTensor | TensorView | None = None, device: Device | None = None
    ) -> None:
        """Write an output into a tensor or a part of one.

        Args:
            name: The output's.
            value: The tensor; None has one allocated at every run.
            device: Where that is allocated; None for the host's memory.
        """
        ...

    def run(self) -> dict[str, DeviceTensor]:
        """Run the graph; returns the outputs that were allocated.

        Raises:
            BundleError: the graph failed.
            OutOfMemoryError: there was too little memory.
        """
        ...


class StatefulBinding(Binding, Protocol):
    """A binding whose runs keep tensors of their own from one to the next: the states of its session, none at first.

    A state is [rows, ...]. A run reads it, and writes it behind what it had: a decoder's past becomes its present.
    """

    def choose_rows(self, rows: NDArray[np.int64]) -> None:
        """Have the rows of the next runs go on from the rows of the states with these indices, int64[rows]."""
        ...

    def clear_states(self) -> None:
        """Begin anew, as without a run."""
        ...

    def read_states(self) -> dict[str, NDArray[Any]]:
        """Copies of all states by name, as the last run left them.

        Raises:
            OutOfMemoryError: there was too little memory.
        """
        ...

    def write_states(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Have the next run go on from these; they are copied.

        Raises:
            OutOfMemoryError: there was too little memory.
        """
        ...


class Session(Protocol):
    """One graph, loaded.

    Attributes:
        inputs: Declared inputs in order: name -> numpy dtype name (``"int64"``, ``"float32"`` ...).
        input_shapes: Their declared shapes, with names or None for the dimensions that vary.
        optional_inputs: Inputs with a default, which need not be fed, likewise name -> numpy dtype name.
        outputs: Names of the outputs in order.
        output_shapes: Their declared shapes, with names or None for the dimensions that vary.
        output_dtypes: Their numpy dtype names.
        states: What runs of a binding keep from one to the next in place of inputs and outputs, likewise name -> numpy
            dtype name, by the inputs' names; where there are some, a binding is a :class:`StatefulBinding`.
        state_shapes: Their shapes, with None for the dimensions that vary.
        providers: What runs it, first choice first, by the engine's names.
        placement: How many operators of each kind each of them runs; empty where edgepipe knows that without asking.
        on_cpu: Whether a processor is that first choice.
        device: Where it computes.
        in_place: Whether an output may be written over an input, as a cache that grows is: not where values are copied
            to other memory and back.
        device_spec: The name of what computes it: that of the first of `providers`.
        num_threads: Threads inside one operator.
        captures: Whether runs can be recorded and replayed.
        serial: Runs one at a time what uses tensors that stay bound; in a session that captures, every run.
    """

    inputs: dict[str, str]
    input_shapes: dict[str, list[int | str | None]]
    optional_inputs: dict[str, str]
    outputs: tuple[str, ...]
    output_shapes: dict[str, list[int | str | None]]
    output_dtypes: dict[str, str]
    states: dict[str, str]
    state_shapes: dict[str, list[int | str | None]]
    providers: list[str]
    placement: Mapping[str, Mapping[str, int]]
    on_cpu: bool
    device: Device
    in_place: bool
    device_spec: DeviceSpec
    num_threads: int
    captures: bool
    serial: SerialExecutor

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on arrays for exactly its declared inputs.

        Raises:
            BundleError: the graph failed; the message has the engine's first line and the shapes.
            ClosedError: the session was closed.
            OutOfMemoryError: there was too little memory for so large a batch.
        """
        ...

    def bind(self, graph_id: int | None = None) -> Binding:
        """Begin a series of runs whose inputs and outputs stay bound.

        Args:
            graph_id: By which number its runs are recorded and replayed, in a session that captures; None: not at all.

        Raises:
            ClosedError: the session was closed.
        """
        ...

    def close(self) -> None:
        """Let go of the graph and its weights; the memory is free when no run and no binding uses it any more."""
        ...


def describe_placement(placement: Mapping[str, Mapping[str, int]]) -> str:
    """A session's `placement` in words: how many nodes each provider runs, and which those behind the first.

    ::

        describe_placement({"WebGpuExecutionProvider": {"MatMul": 24}, "CPUExecutionProvider": {"Shape": 2}})
        # 'WebGpuExecutionProvider 24 nodes; CPUExecutionProvider 2 nodes (Shape 2)'
    """
    parts: list[str] = []
    for provider, kinds in placement.items():
        which = f" ({', '.join(f'{kind} {number}' for kind, number in kinds.items())})" if parts else ""
        parts.append(f"{provider} {sum(kinds.values())} nodes{which}")
    return "; ".join(parts)


class SessionOwner(ABC):
    """What has sessions: closed by :meth:`close`, or at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Release the graphs and their memory. Closing twice does nothing; using it afterwards is a `ClosedError`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """All operators of one kind in a run.

    Attributes:
        kind: The engine's name of the operator, e.g. ``MatMul``.
        count: How many there are in a run.
        seconds: What they take together, mean of the runs.
        operations: Additions and multiplications of products in a run; 0 where it is no product, or is not known.
    """

    kind: str
    count: int
    seconds: float
    operations: int = 0


@dataclass(frozen=True, slots=True)
class GraphTimes:
    """A graph's runs.

    Attributes:
        seconds: A whole run, median.
        operators: Of each kind, the slowest first. Together they take less than a run: the rest lies between them.
    """

    seconds: float
    operators: tuple[OperatorTime, ...]

    @classmethod
    def of(cls, seconds: float, runs: int, operators: Iterable[tuple[str, float, int]]) -> GraphTimes:
        """From the kind, the seconds and the operations of each operator in all of the runs."""
        found: dict[str, list[float]] = {}
        for kind, took, operations in operators:
            own = found.setdefault(kind, [0, 0.0, 0])
            own[0] += 1
            own[1] += took
            own[2] += operations
        times = [
            OperatorTime(kind, round(count / runs), took / runs, int(operations / runs))
            for kind, (count, took, operations) in found.items()
        ]
        return cls(seconds, tuple(sorted(times, key=lambda each: -each.seconds)))


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The least memory that a graph's weights take, in bytes; what else a load takes comes on top.

    Attributes:
        private: What no other process shares and the kernel cannot drop: copies that are packed for the processor.
        mapped: What is mapped from files.
    """

    private: int = 0
    mapped: int = 0

    def __add__(self, other: MemoryNeed) -> MemoryNeed:
        return MemoryNeed(self.private + other.private, self.mapped + other.mapped)


@dataclass(frozen=True, slots=True)
class Engine:
    """What loads and runs graphs. Its functions raise what those of :mod:`edgepipe.backend.engines` do.

    Attributes:
        create_session: Loads a graph, from its file, a configuration and the keyword `capture`.
        check_device: Checks that the engine is installed and has the device, as far as that is known without a graph.
        device_profile: What the device runs well; nothing is loaded for that.
        describe: What is installed of it and which devices it has, as JSON can hold it: for a report of a fault.
        profile: Runs a graph so many times with the engine's profiler, from its file, a configuration and arrays for
            its inputs.
        version: Its name and version, e.g. ``"onnxruntime 1.32.0"``, and those of what it runs a configuration on.
        count_memory: The least memory that the weights of a graph take, from its file and a configuration.
        check_int8_cache: Checks that a device of it runs a decoder whose cache is in 8 bits, from a configuration and
            what to call the decoder.
    """

    create_session: Callable[..., Session]
    check_device: Callable[[SessionConfig], None]
    device_profile: Callable[[SessionConfig], DeviceProfile]
    describe: Callable[[], Mapping[str, Any]] = dict
    profile: Callable[[Path, SessionConfig, Mapping[str, NDArray[Any]], int], GraphTimes] | None = None
    version: Callable[[SessionConfig], str] = lambda _: ""
    count_memory: Callable[[Path, SessionConfig], MemoryNeed] = lambda graph, config: MemoryNeed()
    check_int8_cache: Callable[[SessionConfig, str], None] = lambda config, what: refuse_int8_cache(config.device, what)


def refuse_int8_cache(device: object, what: str) -> None:
    """Say that a device has no kernels for a cache in 8 bits.

    Args:
        device: What it is called.
        what: The decoder that has one.

    Raises:
        DeviceError: always.
    """
    raise DeviceError(
        f"{what} has its cache in 8 bits, for which {device} has no kernels: take device='cpu', another variant "
        "(dtype=), or export the checkpoint without --kv-cache-dtype"
    )
