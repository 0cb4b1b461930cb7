"""What OpenVINO has compiled is read again, and made again where it cannot be used."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe.backend.openvino import compiled_models
from edgepipe.backend.openvino.compiled_models import load_compiled
from edgepipe.backend.openvino.ov_module import CPU, load_core
from tests.runtime.small_bundle import expected_logits, flip_last_byte, write_graph

OPTIONS: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
IDS = np.array([[2, 30, 31, 3]])


class Compiler:
    """Loads a graph, and counts how often that compiles it."""

    def __init__(self, graph: Path) -> None:
        self.graph = graph
        self.calls = 0

    def compile(self) -> Any:
        """Compile the graph."""
        self.calls += 1
        return load_core().compile_model(str(self.graph), CPU, OPTIONS)

    def load(self, **options: Any) -> list[list[float]]:
        """The logits of what was loaded."""
        compiled = load_compiled(self.graph, OPTIONS | options, self.compile, min_seconds=0.0)
        found = compiled.create_infer_request().infer({"input_ids": IDS, "attention_mask": np.ones_like(IDS)})
        logits: list[list[float]] = found[0].tolist()
        return logits


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """For a graph and a cache of its own."""
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "cache"))
    write_graph(tmp_path / "model.onnx")
    return Compiler(tmp_path / "model.onnx")


def blobs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "openvino").iterdir())


def test_the_second_start_compiles_nothing(compiler: Compiler, tmp_path: Path) -> None:
    first, second = compiler.load(), compiler.load()
    assert (first == second, compiler.calls, len(blobs(tmp_path))) == (True, 1, 1)
    np.testing.assert_allclose(second, expected_logits("fp32", IDS), rtol=1e-5)
    assert (tmp_path / "cache" / "openvino").stat().st_mode & 0o077 == 0 or os.name == "nt"


def test_what_decides_it_is_looked_at(compiler: Compiler, tmp_path: Path) -> None:
    compiler.load()
    os.utime(tmp_path / "model.onnx_data", (1, 1))
    compiler.load()
    compiler.load(INFERENCE_NUM_THREADS=2)
    write_graph(tmp_path / "model.onnx", "int8")
    np.testing.assert_allclose(compiler.load(), expected_logits("int8", IDS), rtol=1e-5)
    assert compiler.calls == len(blobs(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["empty", "truncated", "altered"])
def test_a_file_that_is_not_whole_is_made_again(damage: str, compiler: Compiler, tmp_path: Path) -> None:
    compiler.load()
    [blob] = blobs(tmp_path)
    size = blob.stat().st_size
    if damage == "altered":
        flip_last_byte(blob)
    else:
        os.truncate(blob, {"empty": 0, "truncated": size // 2}[damage])
    for _ in ("made again", "read"):
        np.testing.assert_allclose(compiler.load(), expected_logits("fp32", IDS), rtol=1e-5)
        assert compiler.calls == 2


def test_a_request_goes_on_when_model_and_file_are_gone(compiler: Compiler, tmp_path: Path) -> None:
    compiler.load()
    compiled = load_compiled(compiler.graph, OPTIONS, compiler.compile, min_seconds=0.0)
    assert compiler.calls == 1
    request = compiled.create_infer_request()
    del compiled
    gc.collect()
    blobs(tmp_path)[0].unlink()
    np.testing.assert_allclose(
        request.infer({"input_ids": IDS, "attention_mask": np.ones_like(IDS)})[0],
        expected_logits("fp32", IDS),
        rtol=1e-5,
    )


def test_a_folder_that_cannot_be_written_is_told_once(compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the folder's place")
    with pytest.warns(UserWarning, match="cannot be written .*so OpenVINO compiles the graph at every start"):
        compiler.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(compiler.load(), expected_logits("fp32", IDS), rtol=1e-5)
    assert compiler.calls == 2


def test_nothing_is_kept_where_the_variable_is_empty(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPIPE_CACHE", "")
    compiler.load()
    compiler.load()
    assert compiler.calls == 2


def test_the_least_recently_used_go_first(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler.load()
    [first] = blobs(tmp_path)
    os.utime(first, (1, 1))

    monkeypatch.setattr(compiled_models, "LIMIT", 4 * first.stat().st_size)
    fillers = [first.with_name(f"{index}.blob") for index in range(4)]
    for index, filler in enumerate(fillers):
        filler.write_bytes(first.read_bytes())
        os.utime(filler, (2 + index, 2 + index))
    compiler.load(INFERENCE_NUM_THREADS=2)
    left = blobs(tmp_path)
    assert first not in left
    assert fillers[-1] in left
    assert sum(file.stat().st_size for file in left) <= compiled_models.LIMIT
