from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.small_bundle import write_graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small graph, made once a file; not to be changed."""
    path = tmp_path_factory.mktemp("session") / "model.onnx"
    write_graph(path)
    return path
