"""Keys and values of a decoder in the state of OpenVINO's requests, and attention as one operator that has them.

A graph reads the past and gives the present, which is the past and the new tokens. As inputs and outputs both are
copied at every step. OpenVINO's processor plug-in has an operator instead that appends to a cache of its own. It takes
the place of ``ScaledDotProductAttention`` whose keys and values are variables of a state, with new tokens behind them.
So attention that is written out becomes ``ScaledDotProductAttention`` here, and past and present become a variable. A
model that uses them in any other way stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.openvino.ov_diagnostics import explain_run_failure
from edgepipe.backend.openvino.ov_host import ArrayBinding, Arrays
from edgepipe.backend.openvino.ov_module import load_openvino
from edgepipe.bundle.layout import PAST, present_name
from edgepipe.forks import within_engine

# An input of a model that has a state: which of its rows those of a run go on from, int32[rows]. The name is that of
# OpenVINO GenAI's models.
STATE_ROWS = "beam_idx"

# Has the rows of a run.
INPUT_IDS = "input_ids"
# Of keys and values, [rows, heads, tokens, width].
_RANK, _TOKENS = 4, 2
_SWAP_LAST = [0, 1, 3, 2]
# The operators that repeat heads of keys and values for several of queries, from the last to the first.
_REPEATING = ("Reshape", "Broadcast", "Unsqueeze")


@dataclass(frozen=True)
class _Attention:
    """Attention that is written out: ``softmax(scale * query @ transposed(keys) + bias) @ values``.

    Attributes:
        query: Output of a node, [rows, heads, tokens, width], like the next two.
        keys: Those of all tokens.
        values: Likewise.
        bias: What is added to the scores, [rows or 1, heads or 1, new tokens or 1, tokens].
        scale: What they are multiplied by.
        result: The output with the last product.
    """

    query: Any
    keys: Any
    values: Any
    bias: Any
    scale: float
    result: Any


@dataclass(frozen=True)
class _Past:
    """An input with a past.

    Attributes:
        parameter: The input's node.
        present: The node that puts new tokens behind it.
        result: The output's node.
    """

    parameter: Any
    present: Any
    result: Any


def keep_in_state(model: Any) -> bool:
    """Have a decoder keep keys and values in its state, in place, if attention is all that reads them.

    Args:
        model: An ``openvino.Model``.

    Returns:
        Whether it does; else nothing was changed.
    """
    names = {name for port in model.inputs for name in port.get_names()}
    pasts = {name: _find_past(model, name) for name in sorted(names) if name.startswith(PAST)}
    found = [_read_attention(node) for node in model.get_ops() if node.get_type_name() == "Softmax"]
    attention = [each for each in found if each is not None]
    read = {_find_source(states) for each in attention for states in (each.keys, each.values)}
    kept = {name: past for name, past in pasts.items() if past is not None}
    if not kept or len(kept) < len(pasts) or read != {past.present.get_name() for past in kept.values()}:
        return False
    if INPUT_IDS not in names or STATE_ROWS in names:
        return False
    for each in attention:
        _use_operator(each)
    _make_variables(model, kept)
    model.validate_nodes_and_infer_types()
    return True


def _find_past(model: Any, name: str) -> _Past | None:
    """An input with a past; None where anything but a ``Concat`` reads it, or what that gives has several readers."""
    port = model.input(name)
    kinds = {reader.get_node().get_type_name(): reader.get_node() for reader in port.get_target_inputs()}
    present = kinds.pop("Concat", None)
    if present is None or present.get_input_size() != 2 or kinds.keys() - {"ShapeOf"}:
        return None
    is_behind = present.input_value(0) == port and present.get_attributes()["axis"] in (_TOKENS, _TOKENS - _RANK)
    readers = [reader.get_node() for reader in present.output(0).get_target_inputs()]
    results = [reader for reader in readers if reader.get_type_name() == "Result"]
    if not is_behind or len(results) != 1 or len(readers) != 2:
        return None
    if len(port.get_partial_shape()) != _RANK or present_name(name) not in results[0].input_value(0).get_names():
        return None
    return _Past(port.get_node(), present, results[0])


def _read_attention(softmax: Any) -> _Attention | None:
    """The attention around a softmax; None where it is written in another way."""
    biased, last = softmax.input_value(0).get_node(), _only_reader(softmax.output(0))
    if biased.get_type_name() != "Add" or softmax.get_attributes()["axis"] not in (-1, _RANK - 1) or last is None:
        return None
    if not _is_product(last) or last.get_attributes()["transpose_b"] or last.input_value(0) != softmax.output(0):
        return None
    for index in (0, 1):
        product, scale = _split_scale(biased.input_value(index))
        bias = biased.input_value(1 - index)
        if _is_product(product.get_node()) and len(bias.get_partial_shape()) == _RANK:
            break
    else:
        return None
    query, factor = _split_scale(product.get_node().input_value(0))
    keys = product.get_node().input_value(1)
    if not product.get_node().get_attributes()["transpose_b"]:
        swapped = keys.get_node()
        if swapped.get_type_name() != "Transpose" or _find_constant(swapped.input_value(1)) != _SWAP_LAST:
            return None
        keys = swapped.input_value(0)
    return _Attention(query, keys, last.input_value(1), bias, scale * factor, last.output(0))


def _is_product(node: Any) -> bool:
    return node.get_type_name() == "MatMul" and not node.get_attributes()["transpose_a"]


def _split_scale(value: Any) -> tuple[Any, float]:
    """What a number is multiplied with or divided by, and the factor; the value itself and 1 where there is none."""
    node = value.get_node()
    if node.get_type_name() in ("Multiply", "Divide"):
        for index in (1, 0) if node.get_type_name() == "Multiply" else (1,):
            number = _find_constant(node.input_value(index))
            if number is not None and np.size(number) == 1:
                factor = float(np.reshape(number, ()))
                return node.input_value(1 - index), factor if node.get_type_name() == "Multiply" else 1 / factor
    return value, 1.0


def _find_constant(value: Any) -> Any:
    """The numbers of a constant, as a list or a number; None for anything else."""
    node = value.get_node()
    return node.get_data().tolist() if node.get_type_name() == "Constant" else None


def _find_source(states: Any) -> str:
    """The name of the node that gives keys or values, before each head of them is repeated for several of queries."""
    node = states.get_node()
    for kind in _REPEATING:
        if node.get_type_name() != kind:
            return str(states.get_node().get_name())
        node = node.input_value(0).get_node()
    return str(node.get_name())


def _only_reader(value: Any) -> Any:
    """The node that reads a value; None where several do, or none."""
    readers = [reader.get_node() for reader in value.get_target_inputs()]
    return readers[0] if len(readers) == 1 else None


def _use_operator(attention: _Attention) -> None:
    operators = load_openvino().opset13
    scale = operators.constant(np.array(attention.scale, attention.query.get_element_type().to_dtype()))
    each = attention
    fused = operators.scaled_dot_product_attention(each.query, each.keys, each.values, each.bias, scale)
    for reader in attention.result.get_target_inputs():
        reader.replace_source_output(fused.output(0))


def _make_variables(model: Any, pasts: Mapping[str, _Past]) -> None:
    """Put a variable of its name in the place of each past and present; without tokens at first, for each row."""
    openvino = load_openvino()
    operators = openvino.opset13
    zero = operators.constant(np.zeros((), np.int64))
    rows = operators.gather(operators.shape_of(model.input(INPUT_IDS)), operators.constant(np.zeros(1, np.int64)), zero)
    chosen = operators.parameter(openvino.PartialShape([-1]), openvino.Type.i32)
    chosen.set_friendly_name(STATE_ROWS)
    chosen.output(0).set_names({STATE_ROWS})
    model.add_parameters([chosen])
    for name, past in pasts.items():
        _, heads, _, width = past.parameter.get_partial_shape()
        info = openvino.op.util.VariableInfo()
        info.data_shape = openvino.PartialShape([-1, heads, -1, width])
        info.data_type = past.parameter.get_element_type()
        info.variable_id = name
        variable = openvino.op.util.Variable(info)
        sizes = operators.constant(np.array([heads.get_length(), 0, width.get_length()]))
        nothing = operators.constant(np.zeros((), info.data_type.to_dtype()))
        empty = operators.broadcast(nothing, operators.concat([rows, sizes], 0))
        state = operators.gather(openvino.op.read_value(empty, variable), chosen, zero)
        for reader in past.parameter.output(0).get_target_inputs():
            reader.replace_source_output(state.output(0))
        model.add_variables([variable])
        model.add_sinks([openvino.op.assign(past.present, variable)])
        model.remove_result(past.result)
        model.remove_parameter(past.parameter)


class StateBinding(ArrayBinding):
    """A :class:`~edgepipe.backend.session.StatefulBinding`."""

    def __init__(self, compute: Callable[[Arrays, NDArray[np.int64] | None], Arrays], request: Any) -> None:
        """Begin with nothing bound and no tokens.

        Args:
            compute: Runs the graph on its inputs, and on which rows of the state each row goes on from; its outputs
                are valid until the next run.
            request: An ``openvino.InferRequest``, which has the state.
        """
        super().__init__(lambda feeds: compute(feeds, self._rows))
        self._request = request
        self._rows: NDArray[np.int64] | None = None
        self.clear_states()

    def choose_rows(self, rows: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.backend.session.StatefulBinding`."""
        self._rows = rows

    def clear_states(self) -> None:
        """See :class:`~edgepipe.backend.session.StatefulBinding`."""
        self._request.reset_state()

    def read_states(self) -> dict[str, NDArray[Any]]:
        """See :class:`~edgepipe.backend.session.StatefulBinding`."""
        with explain_run_failure({}), within_engine():
            return {state.name: state.state.data.copy() for state in self._request.query_state()}

    def write_states(self, arrays: Arrays) -> None:
        """See :class:`~edgepipe.backend.session.StatefulBinding`."""
        tensor = load_openvino().Tensor
        with explain_run_failure(arrays), within_engine():
            for state in self._request.query_state():
                state.state = tensor(np.ascontiguousarray(arrays[state.name]))
