"""Engines answer lines of JSON: the same texts have the same outputs from all that read fp32."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.environments import run
from benchmarks.peers.files import FOLDER, engine_command
from benchmarks.peers.sections import HERE, NODE
from benchmarks.worker import Worker
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

from edgepipe_export import export
from tests.conftest import Exported
from tests.tiny import build

TEXTS = ["I love this", "What a waste of time!", "A quiet triumph, and a film for a long evening."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_export: Callable[..., Exported]) -> Path:
    """A bundle, and its graph as onnxruntime by hand and transformers.js read it."""
    folder = tmp_path_factory.mktemp("peers")
    shutil.copytree(tiny_export("bert").bundle.path, folder / "bundle")
    run([sys.executable, str(FOLDER / "quantize_plain.py"), str(folder / "bundle"), str(folder / "plain")])
    return folder


def ask(folder: Path, engine: str, path: str, option: str, environment: str = HERE) -> NDArray[Any]:
    """The outputs of the texts; lists of them are timed, too."""
    arguments = [engine, str(folder / path), option, str(folder / "bundle" / "tokenizer.json"), "1"]
    with Worker(engine, [*engine_command(environment), *arguments]) as worker:
        assert worker.request({"texts": TEXTS, "batch_size": 2})["seconds"] > 0
        return np.array(worker.request({"texts": TEXTS})["outputs"])


def time_graph(folder: Path, engine: str, path: str, option: str, environment: str = HERE) -> list[float]:
    """The seconds of three calls."""
    arguments = [engine, str(folder / path), option, str(folder / "bundle" / "tokenizer.json"), "1"]
    with Worker(engine, [*engine_command(environment), *arguments]) as worker:
        times: list[float] = worker.request({"rows": 2, "tokens": 8, "calls": 3})["seconds"]
        return times


def test_onnxruntime_by_hand(folder: Path) -> None:
    ours = ask(folder, "edgepipe", "bundle", "fp32@cpu")
    np.testing.assert_allclose(ask(folder, "onnxruntime", "plain/onnx/model.onnx", ""), ours, atol=1e-5)
    int8 = ask(folder, "onnxruntime", "plain/onnx/model_quantized.onnx", "")
    assert int8.shape == ours.shape
    assert np.abs(int8 - ours).max() > 0, "it is another graph"


@pytest.mark.environments
def test_transformers_js(folder: Path) -> None:
    for dtype, graph in (("fp32", "model.onnx"), ("q8", "model_quantized.onnx")):
        same = ask(folder, "onnxruntime", f"plain/onnx/{graph}", "")
        found = ask(folder, "transformers_js", "plain", dtype, NODE)
        np.testing.assert_allclose(found, same, atol=1e-3)
    assert len(time_graph(folder, "transformers_js", "plain", "fp32", NODE)) == 3


def test_every_call_of_the_graph_is_timed(folder: Path) -> None:
    assert len(time_graph(folder, "edgepipe", "bundle", "fp32@cpu")) == 3


def test_vectors_of_sentences(tmp_path: Path) -> None:
    build("bert", task="feature-extraction", directory=tmp_path / "bert")
    parts = [modules.Transformer(str(tmp_path / "bert")), modules.Pooling(32, "mean"), modules.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "checkpoint"))
    export(tmp_path / "checkpoint", tmp_path / "bundle", verify=False)
    ours = ask(tmp_path, "edgepipe", "bundle", "fp32@cpu")
    assert ours.shape == (len(TEXTS), 32)
    np.testing.assert_allclose(ask(tmp_path, "sentence_transformers", "checkpoint", "torch"), ours, atol=1e-5)
