"""A tiny encoder without a head, exported once for the tests of hidden states and of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, pipeline

TASK = "feature-extraction"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import build  # it needs torch, which most tests of this folder do not

    path = tmp_path_factory.mktemp("tiny") / "bert"
    build("bert", task=TASK, directory=path)
    return path


@pytest.fixture(scope="session")
def bundle(checkpoint: Path) -> Bundle:
    from edgepipe_export import export

    return export(checkpoint, checkpoint.with_name("bundle"), verify=False)


@pytest.fixture(scope="session")
def extract(bundle: Bundle) -> Any:
    return pipeline(TASK, bundle, num_threads=1)
