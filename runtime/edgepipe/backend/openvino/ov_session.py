"""OpenVINO as an engine: one graph, compiled for the processor, with its threads, precision and declared inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import did_you_mean
from edgepipe.backend.device import Device, DeviceSpec
from edgepipe.backend.machine import saturates
from edgepipe.backend.openvino.compiled_models import load_compiled
from edgepipe.backend.openvino.ov_diagnostics import explain_load_failure, explain_run_failure, require_translation
from edgepipe.backend.openvino.ov_host import HOST, ArrayBinding
from edgepipe.backend.openvino.ov_kv_state import INPUT_IDS, STATE_ROWS, StateBinding, keep_in_state
from edgepipe.backend.openvino.ov_module import CPU, load_core, load_openvino
from edgepipe.backend.serial_executor import SerialExecutor
from edgepipe.backend.session import DeviceProfile, SessionConfig
from edgepipe.backend.threads import threads_of_worker
from edgepipe.bundle.layout import LOGITS_TO_KEEP, STORED_AS
from edgepipe.errors import BundleError, ClosedError, DeviceError, InputError
from edgepipe.forks import keep_in_children, within_engine

NAME = "openvino"
_DEVICES = (NAME, f"{NAME}:cpu")
BF16 = "bf16"

_PROFILE = DeviceProfile(
    name="OpenVINO",
    # fp32 is exact there. Of the others the fastest first; the dynamic ones of 8 bits are two to three times slower
    # there than on onnxruntime.
    preferred_variants=(
        "fp32",
        BF16,
        "int8-static",
        "w8",
        "q4",
        "w8-rows",
        "q4-rows",
        "fp16",
        "int8",
        "int8-rows",
        "q8",
        "uint8",
    ),
    unsupported_variants=("q4f16", "bnb4"),
    precisions={BF16: STORED_AS[BF16]},
    # It makes kernels for each shape.
    few_shapes=True,
    gate=NAME,
)


def check_device(config: SessionConfig) -> None:
    """See :class:`~edgepipe.backend.session.Engine`."""
    _check_config(config)
    load_openvino()
    _check_precision(config)


def device_profile(config: SessionConfig) -> DeviceProfile:
    """See :class:`~edgepipe.backend.session.Engine`."""
    _check_config(config)
    return _PROFILE


class OvSession:
    """See :class:`~edgepipe.backend.session.Session`. Calls from several threads run side by side."""

    def __init__(self, graph: Path, config: SessionConfig, *, capture: bool = False) -> None:
        """See :func:`~edgepipe.backend.engines.create_session`; nothing can be recorded."""
        _check_config(config)
        core, options = load_core(), compile_options(config)
        require_translation(graph)
        with explain_load_failure(graph):
            compiled = keep_in_children(
                load_compiled(graph, options, lambda: core.compile_model(read_graph(graph), CPU, options))
            )
        self._graph = graph
        self._compiled = compiled
        self._idle: list[Any] = []
        self.providers = [_PROFILE.name]
        self.placement: Mapping[str, Mapping[str, int]] = {}
        inputs = {_port_name(port): port for port in compiled.inputs}
        self.states: dict[str, str] = {}
        self.state_shapes: dict[str, list[int | str | None]] = {}
        if inputs.pop(STATE_ROWS, None) is not None:
            self._idle.append(keep_in_children(compiled.create_infer_request()))
            variables = {state.name: state.state for state in self._idle[0].query_state()}
            for name, tensor in sorted(variables.items()):
                self.states[name] = str(tensor.element_type.to_dtype().name)
                self.state_shapes[name] = [size or None for size in tensor.shape]  # without rows and tokens yet
        optional = inputs.pop(LOGITS_TO_KEEP, None)
        self._defaults = {} if optional is None else {LOGITS_TO_KEEP: np.zeros((), _dtype(optional))}
        outputs = {_port_name(port): port for port in compiled.outputs}
        self.inputs: dict[str, str] = {name: _dtype(port) for name, port in inputs.items()}
        self.input_shapes: dict[str, list[int | str | None]] = {name: _shape(port) for name, port in inputs.items()}
        # What others are by default has become a constant.
        self.optional_inputs: dict[str, str] = {name: str(default.dtype) for name, default in self._defaults.items()}
        self.outputs: tuple[str, ...] = tuple(outputs)
        self.output_shapes: dict[str, list[int | str | None]] = {name: _shape(port) for name, port in outputs.items()}
        self.output_dtypes: dict[str, str] = {name: _dtype(port) for name, port in outputs.items()}
        self.on_cpu = True
        self.device: Device = HOST
        self.in_place = True
        self.device_spec = DeviceSpec(NAME)
        # It takes no more of them than there are processors.
        self.num_threads = max(1, int(compiled.get_property("INFERENCE_NUM_THREADS")) // config.workers)
        self.captures = False
        self.serial = SerialExecutor(own_thread=False)

    @property
    def closed(self) -> bool:
        """See :class:`~edgepipe.backend.session.Session`."""
        return self._compiled is None

    def close(self) -> None:
        """See :class:`~edgepipe.backend.session.Session`."""
        self._compiled = None
        self._idle.clear()
        self.serial.close()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """See :class:`~edgepipe.backend.session.Session`."""
        request = self._take_request()
        if self.states:
            request.reset_state()
        arrays = self._infer(request, feeds, shared=False)
        self._idle.append(request)  # one that failed is not used again
        return {
            name: array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array
            for name, array in arrays.items()
        }

    def bind(self, graph_id: int | None = None) -> ArrayBinding:
        """See :class:`~edgepipe.backend.session.Session`."""
        request = self._take_request()
        if self.states:
            return StateBinding(lambda feeds, rows: self._infer(request, feeds, shared=True, rows=rows), request)
        return ArrayBinding(lambda feeds: self._infer(request, feeds, shared=True))

    def _take_request(self) -> Any:
        compiled = self._compiled  # once: another thread may close it meanwhile
        if compiled is None:
            raise ClosedError(
                f"{self._graph} was closed, by close() or at the end of a with block; load its bundle again"
            )
        try:
            return self._idle.pop()
        except IndexError:
            return keep_in_children(compiled.create_infer_request())

    def _infer(
        self, request: Any, feeds: Mapping[str, NDArray[Any]], *, shared: bool, rows: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The outputs by name: in the request's own memory if `shared`, else copies.

        With a state the rows go on from those of the state with these indices; None for a state without tokens.
        """
        if self._defaults:
            feeds = {**self._defaults, **feeds}
        if feeds.keys() != self.inputs.keys() | self._defaults.keys():
            # It would go on with what an earlier run was given.
            raise BundleError(
                f"the graph failed: it reads {', '.join(self.inputs)}, and was given {', '.join(feeds) or 'nothing'}"
            )
        if self.states:
            rows = np.arange(len(feeds[INPUT_IDS])) if rows is None else rows
            feeds = {**feeds, STATE_ROWS: rows.astype(np.int32)}
        with explain_run_failure(feeds), within_engine():
            found = request.infer(dict(feeds), share_inputs=True, share_outputs=shared)
        return dict(zip(self.outputs, found.to_tuple(), strict=True))


def read_graph(graph: Path) -> Any:
    """An ``openvino.Model`` of a graph that can be told of how many tokens logits are wanted, and that keeps its past.

    OpenVINO makes a constant of what an input is by default, and would compute those of all tokens of a prompt.
    """
    model = load_core().read_model(str(graph))
    for constant in model.get_ops():
        if (
            constant.get_type_name() == "Constant"
            and constant.get_friendly_name() == LOGITS_TO_KEEP
            and not constant.get_data().any()  # 0 is all of them
        ):
            openvino = load_openvino()
            asked = openvino.op.Parameter(constant.get_element_type(), openvino.PartialShape([]))
            asked.set_friendly_name(LOGITS_TO_KEEP)
            asked.output(0).set_names({LOGITS_TO_KEEP})
            for reader in constant.output(0).get_target_inputs():
                reader.replace_source_output(asked.output(0))
            model.add_parameters([asked])
            break
    keep_in_state(model)
    return model


def compile_options(config: SessionConfig) -> dict[str, Any]:
    """What a graph is compiled with, by OpenVINO's names.

    Raises:
        DeviceError: the processor does not compute in the precision.
    """
    _check_precision(config)
    rest = config.rest if config.rest == BF16 and _has_bf16() else None
    return {
        # By default it is half of 32 bits where the processor has that.
        "INFERENCE_PRECISION_HINT": config.precision or rest or "f32",
        # By default it rounds activations to 8 bits wherever weights have 8 or 4, and a cache's keys and values.
        # Processors without dot products in 8 bits would gain nothing.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0 if saturates() else config.activation_block or 0,
        "KV_CACHE_PRECISION": "f32",
        "INFERENCE_NUM_THREADS": config.workers * int(config.num_threads or threads_of_worker(config.workers)),
        # A stream is a run beside others, and has its part of the threads.
        "NUM_STREAMS": config.workers,
        # Several processes would all be pinned to the same processors.
        "ENABLE_CPU_PINNING": False,
    }


def _check_precision(config: SessionConfig) -> None:
    """Refuse what OpenVINO would compute in fp32 without a word.

    Raises:
        DeviceError: the processor does not compute in the precision.
    """
    if config.precision == BF16 and not _has_bf16():
        raise DeviceError(
            "this processor has no instructions for bf16 (on x86 avx512_bf16 or amx_bf16), and OpenVINO would compute "
            'in fp32 without a word; take dtype="fp32"'
        )


def _has_bf16() -> bool:
    return "BF16" in load_core().get_property(CPU, "OPTIMIZATION_CAPABILITIES")


def _check_config(config: SessionConfig) -> None:
    """Refuse what OpenVINO has no counterpart for.

    Raises:
        InputError: such an option was given, or another device of OpenVINO's.
    """
    device = str(config.device).lower()
    if device not in _DEVICES:
        hint = did_you_mean(device, _DEVICES)
        raise InputError(f"OpenVINO runs on the processor here: device must be {NAME!r}, got {config.device!r}{hint}")
    given = {
        "low_memory": config.low_memory,
        "session_options": config.session_options is not None,
        "buckets": bool(config.buckets),
    }
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise InputError(f"device={NAME!r} has no {' and no '.join(wrong)}: leave that out, or take device='cpu'")


def _port_name(port: Any) -> str:
    """What the graph calls an input or output; it may have other names, of what OpenVINO found to be the same."""
    name = str(port.get_node().get_friendly_name()).removesuffix("/sink_port_0")
    return name if name in port.get_names() else str(port.get_any_name())


def _dtype(port: Any) -> str:
    return str(port.get_element_type().to_dtype().name)


def _shape(port: Any) -> list[int | str | None]:
    sizes = port.get_partial_shape()
    return [] if sizes.rank.is_dynamic else [None if size.is_dynamic else size.get_length() for size in sizes]
