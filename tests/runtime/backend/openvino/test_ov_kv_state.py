"""Decoders with keys and values in the state of OpenVINO's requests, beside onnxruntime with inputs and outputs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.backend.engines import create_session
from edgepipe.backend.openvino.compiled_models import MappedModel, load_compiled
from edgepipe.backend.openvino.ov_kv_state import STATE_ROWS, keep_in_state
from edgepipe.backend.openvino.ov_module import CPU, load_core
from edgepipe.backend.openvino.ov_session import OvSession, compile_options, read_graph
from edgepipe.backend.session import SessionConfig, StatefulBinding
from edgepipe.bundle.layout import PAST
from tests.runtime.models.decoder.small_decoders import (
    OTHER_WRITINGS,
    VOCABULARY,
    WRITINGS,
    write_attention_graph,
)

HERE, THERE = SessionConfig("cpu"), SessionConfig("openvino")
STATES = ["past_key_values.0.key", "past_key_values.0.value", "past_key_values.1.key", "past_key_values.1.value"]
IDS = np.random.default_rng(3).integers(0, VOCABULARY, (3, 9))
MASK = np.ones_like(IDS)
MASK[1, :2] = 0


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with attention; not to be changed."""
    path = tmp_path_factory.mktemp("attention") / "model.onnx"
    write_attention_graph(path)
    return path


def feeds(rows: Any = slice(None), start: int = 0, end: int = 9) -> dict[str, NDArray[Any]]:
    """Inputs for some of the tokens of IDS, behind those before them."""
    positions = np.maximum(MASK.cumsum(axis=1) - 1, 0)
    arrays = {"input_ids": IDS[rows, start:end], "attention_mask": MASK[rows, :end]}
    return {**arrays, "position_ids": positions[rows, start:end]}


def expected_logits(path: Path) -> NDArray[np.float32]:
    """Those of all tokens of IDS, by onnxruntime; NaN for padding, which may have any."""
    session = create_session(path, HERE)
    shapes = {name: shape for name, shape in session.input_shapes.items() if name.startswith(PAST)}
    empty = {name: np.zeros((3, int(heads or 0), 0, 4), np.float32) for name, (_, heads, *_) in shapes.items()}
    logits = session.run({**feeds(), **empty})["logits"]
    return np.where(MASK[..., None] == 0, np.float32(np.nan), logits)


def run(binding: StatefulBinding, rows: Any, start: int, end: int) -> NDArray[Any]:
    """The logits of these tokens."""
    for name, array in feeds(rows, start, end).items():
        binding.bind_input(name, np.ascontiguousarray(array))
    binding.bind_output("logits")
    return binding.run()["logits"].numpy()


def assert_close(found: NDArray[Any], expected: NDArray[Any]) -> None:
    np.testing.assert_allclose(np.where(np.isnan(expected), expected, found), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("writing", WRITINGS)
def test_attention_becomes_one_operator_that_has_the_cache(writing: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_attention_graph(path, writing)
    session = create_session(path, THERE)
    assert isinstance(session, OvSession)
    heads = 1 if writing == "grouped heads" else 2
    assert session.states == dict.fromkeys(STATES, "float32")
    assert session.state_shapes == {name: [None, heads, None, 4] for name in STATES}
    assert session.inputs == dict.fromkeys(["input_ids", "attention_mask", "position_ids"], "int64")
    assert session.outputs == ("logits",)
    operators = session._compiled.get_runtime_model().get_ops()
    kinds = Counter(str(operator.get_rt_info()["layerType"].astype(str)) for operator in operators)
    assert (kinds["ScaledDotProductAttention"], kinds["MemoryInput"], kinds["Softmax"]) == (2, 4, 0)
    reads = [
        [value.get_node().get_friendly_name() for value in operator.input_values()]
        for operator in operators
        if str(operator.get_rt_info()["layerType"].astype(str)) == "ScaledDotProductAttention"
    ]
    assert all(STATE_ROWS in names for names in reads), "the cache is in the operator"
    binding, expected = cast("StatefulBinding", session.bind()), expected_logits(path)
    for rows, chosen, start, end in (
        (slice(None), [0, 1, 2], 0, 5),
        (slice(None), [0, 1, 2], 5, 6),
        ([2, 1, 1, 0], [2, 1, 1, 0], 6, 7),
        ([1, 2], [1, 0], 7, 9),
    ):
        binding.choose_rows(np.array(chosen))
        assert_close(run(binding, rows, start, end), expected[rows, start:end])


@pytest.mark.parametrize("writing", OTHER_WRITINGS)
def test_other_graphs_stay_as_they_are(writing: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_attention_graph(path, writing)
    session = create_session(path, THERE)
    assert session.states == session.state_shapes == {}
    assert set(STATES) <= session.inputs.keys()
    assert "present.1.value" in session.outputs


def test_an_encoder_stays_as_it_is(graph: Path) -> None:
    assert not keep_in_state(load_core().read_model(str(graph)))


def test_states_are_read_and_written(attention: Path) -> None:
    session, expected = create_session(attention, THERE), expected_logits(attention)
    binding = cast("StatefulBinding", session.bind())
    binding.choose_rows(np.arange(3))
    run(binding, slice(None), 0, 6)
    kept = binding.read_states()
    assert {name: (array.shape, array.dtype.name) for name, array in kept.items()} == dict.fromkeys(
        STATES, ((3, 2, 6, 4), "float32")
    )
    before = {name: array.copy() for name, array in kept.items()}
    run(binding, slice(None), 6, 9)
    for name, array in kept.items():
        np.testing.assert_array_equal(array, before[name])
    binding.write_states({name: array[[2, 0], :, :4] for name, array in kept.items()})
    binding.choose_rows(np.array([1, 0, 0]))
    assert_close(run(binding, [0, 2, 2], 4, 7), expected[[0, 2, 2], 4:7])
    other = cast("StatefulBinding", session.bind())
    other.write_states({name: array[1:, :, :5] for name, array in kept.items()})
    other.choose_rows(np.arange(2))
    assert_close(run(other, [1, 2], 5, 6), expected[1:, 5:6])
    binding.choose_rows(np.arange(3))
    assert_close(run(binding, [0, 2, 2], 7, 8), expected[[0, 2, 2], 7:8])


def test_states_begin_anew(attention: Path) -> None:
    session, expected = create_session(attention, THERE), expected_logits(attention)
    binding = cast("StatefulBinding", session.bind())
    for rows in ([0, 1, 2], [2], [1, 0]):
        binding.clear_states()
        binding.choose_rows(np.arange(len(rows)))
        assert_close(run(binding, rows, 0, 4), expected[rows, :4])


def test_runs_without_a_binding_have_no_past(attention: Path) -> None:
    session, expected = create_session(attention, THERE), expected_logits(attention)
    for rows in (slice(None), [1]):
        assert_close(session.run(feeds(rows))["logits"], expected[rows])
    # The request of these runs has a state.
    binding = cast("StatefulBinding", session.bind())
    binding.choose_rows(np.arange(2))
    assert_close(run(binding, [0, 2], 0, 3), expected[[0, 2], :3])


def test_a_model_that_was_kept_on_disk_has_its_state(
    attention: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path))
    options = compile_options(THERE)
    load_compiled(
        attention, options, lambda: load_core().compile_model(read_graph(attention), CPU, options), min_seconds=0
    )
    session = create_session(attention, THERE)
    assert isinstance(session, OvSession)
    assert isinstance(session._compiled, MappedModel)
    assert session.state_shapes == {name: [None, 2, None, 4] for name in STATES}
    binding = cast("StatefulBinding", session.bind())
    expected = expected_logits(attention)
    for start, end in ((0, 5), (5, 6)):
        binding.choose_rows(np.arange(3))
        assert_close(run(binding, slice(None), start, end), expected[:, start:end])
