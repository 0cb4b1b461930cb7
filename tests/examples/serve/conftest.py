from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepipe_models import default_bundle
from tests.runtime.serve.running_server import RunningServer, serve_bundles


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded bundle, which has probes, as a folder of its own."""
    folder = tmp_path_factory.mktemp("bundles") / "sentiment"
    shutil.copytree(default_bundle(), folder)
    return folder


@pytest.fixture(scope="session")
def server(bundle: Path) -> Iterator[RunningServer]:
    with serve_bundles(bundle) as running:
        yield running
