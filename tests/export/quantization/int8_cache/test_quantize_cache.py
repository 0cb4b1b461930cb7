from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray

from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.providers import check_int8_cache
from edgepipe.backend.session import Session, SessionConfig
from edgepipe.errors import DependencyError, ExportError
from edgepipe_export.quantization.int8_cache.quantize_cache import _MANY, QuantizeCachePass, quantize_cache
from edgepipe_export.tracing.serialization import save_graph
from tests.export.tracing.passes.test_decompose_attention import HEAD_DIM, HEADS, KV_HEADS, attention

NAMES = ("past_key", "past_value")
LOWEST = np.finfo(np.float32).min
# The kernel for 8 bits differs from that for fp32 on the same numbers by rounding alone.
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def scales() -> dict[str, NDArray[np.float32]]:
    numbers = np.random.default_rng(1)
    return {name: numbers.uniform(0.02, 0.04, (KV_HEADS, HEAD_DIM)).astype(np.float32) for name in NAMES}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Session]:
    """The operator with a cache in fp32, and in 8 bits."""
    try:
        check_int8_cache(SessionConfig("cpu"), "attention")
    except DependencyError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("attention")
    for name in ("plain", "rounded"):
        save_graph(attention(), folder / f"{name}.onnx")
    quantize_cache(folder / "rounded.onnx", scales())
    plain, rounded = (create_session(folder / f"{name}.onnx") for name in ("plain", "rounded"))
    return plain, rounded


def round_states(states: NDArray[np.float32], name: str) -> NDArray[np.int8]:
    """float32[batch, kv_heads, tokens, head_dim] as a cache keeps it."""
    steps = np.rint(states / scales()[name][None, :, None])
    return np.clip(steps, -128, 127).astype(np.int8)


def restore(steps: NDArray[np.int8], name: str) -> NDArray[np.float32]:
    return steps.astype(np.float32) * scales()[name][None, :, None]


def feeds(rows: int, past: int, new: int, padding: int = 0) -> dict[str, NDArray[Any]]:
    """For the operator with a cache in fp32; the first row has some padding before its tokens."""
    numbers = np.random.default_rng(past + new)
    positions = np.arange(past + new)
    mask = np.where(positions[None, :] <= positions[past:, None], 0.0, LOWEST).astype(np.float32)
    masks = np.repeat(mask[None, None], rows, axis=0)
    masks[0, :, :, :padding] = LOWEST
    shape = (rows, KV_HEADS, past, HEAD_DIM)
    return {
        "query": numbers.normal(size=(rows, new, HEADS * HEAD_DIM)).astype(np.float32),
        "key": numbers.normal(size=(rows, new, KV_HEADS * HEAD_DIM)).astype(np.float32),
        "value": numbers.normal(size=(rows, new, KV_HEADS * HEAD_DIM)).astype(np.float32),
        **{name: numbers.normal(size=shape).astype(np.float32) for name in NAMES},
        "seqlens_k": np.full(rows, past + new - 1, np.int32),
        "total_sequence_length": np.array(past + new, np.int32),
        "mask": masks,
    }


def split_heads(states: NDArray[np.float32]) -> NDArray[np.float32]:
    return states.reshape(*states.shape[:2], KV_HEADS, HEAD_DIM).transpose(0, 2, 1, 3)


def join_heads(states: NDArray[np.float32]) -> NDArray[np.float32]:
    return states.transpose(0, 2, 1, 3).reshape(states.shape[0], states.shape[2], -1)


CASES = {
    "step": (1, 40, 1, 0),
    "steps-of-rows": (3, 40, 1, 5),
    "several": (1, 40, _MANY - 1, 0),
    "many": (1, 40, _MANY, 0),
    "prompt": (1, 0, 40, 0),
    "short-prompt": (2, 0, 5, 2),
    "prompt-of-rows": (3, 0, 40, 7),
}


@pytest.mark.parametrize(("rows", "past", "new", "padding"), CASES.values(), ids=CASES)
def test_attention_is_over_what_the_cache_keeps(
    sessions: tuple[Session, Session], rows: int, past: int, new: int, padding: int
) -> None:
    plain, rounded = sessions
    given = feeds(rows, past, new, padding)
    kept = {name: round_states(given[name], name) for name in NAMES}
    found = run_rounded(rounded, given | kept)
    new_states = {
        own: restore(round_states(split_heads(given[own]), name), name)
        for own, name in zip(("key", "value"), NAMES, strict=True)
    }
    same = given | {name: restore(kept[name], name) for name in NAMES}
    same |= {name: join_heads(states) for name, states in new_states.items()}
    expected = plain.run(same)
    seen = slice(padding, None) if past == 0 else slice(None)  # what a row of padding gives is read by nobody
    np.testing.assert_allclose(found["output"][:, seen], expected["output"][:, seen], **CLOSE)
    for own, name, output in zip(("key", "value"), NAMES, ("present_key", "present_value"), strict=True):
        steps = np.concatenate([kept[name], round_states(split_heads(given[own]), name)], axis=2)
        assert (found[output] == steps).all()


def run_rounded(session: Session, given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """All outputs as they are: a session gives its own in float32."""
    return {name: array for name, array in session.run({name: given[name] for name in session.inputs}).items()}


def run_in_place(
    session: Session, given: dict[str, NDArray[Any]], buffers: dict[str, NDArray[np.int8]]
) -> NDArray[np.float32]:
    """The output of a run whose past and present are one buffer."""
    binding = session.bind()
    for name in session.inputs:
        if name in buffers:
            tensor = session.device.wrap(buffers[name])
            binding.bind_input(name, tensor)
            binding.bind_output(name.replace("past", "present"), tensor)
        else:
            binding.bind_input(name, given[name])
    binding.bind_output("output")
    return np.array(binding.run()["output"].numpy())


# One new token, and as many as go through the operator for fp32.
@pytest.mark.parametrize(("before", "new"), [pytest.param(40, 1, id="few"), pytest.param(8, _MANY + 4, id="many")])
def test_new_tokens_go_behind_the_past_in_its_buffer(before: int, new: int, sessions: tuple[Session, Session]) -> None:
    rounded = sessions[1]
    given = feeds(1, before, new)
    kept = {name: round_states(given[name], name) for name in NAMES}
    buffers = {name: np.full((1, KV_HEADS, 64, HEAD_DIM), 99, np.int8) for name in NAMES}
    for name, buffer in buffers.items():
        buffer[:, :, :before] = kept[name]
    expected = run_rounded(rounded, given | kept)
    np.testing.assert_allclose(run_in_place(rounded, given, buffers), expected["output"], atol=1e-6)
    for name, buffer in buffers.items():
        assert (buffer[:, :, : before + new] == expected[name.replace("past", "present")]).all()
        assert (buffer[:, :, before + new :] == 99).all()


def test_weights_stay_where_they_are(tmp_path: Path) -> None:
    graph, weights = save_graph(attention(), tmp_path / "model.onnx")
    before = weights.read_bytes() if weights.exists() else b""
    quantize_cache(graph, scales())
    assert (weights.read_bytes() if weights.exists() else b"") == before
    types = {value.name: value.dtype for value in onnx_ir.load(graph).graph.inputs}
    assert types["past_key"] == types["past_value"] == onnx_ir.DataType.INT8
    assert types["query"] == onnx_ir.DataType.FLOAT


def test_a_cache_that_something_else_reads_is_refused() -> None:
    with pytest.raises(ExportError, match="past_states is not read by GroupQueryAttention alone"):
        QuantizeCachePass(scales() | {"past_states": np.ones((1, 1), np.float32)})(attention())
