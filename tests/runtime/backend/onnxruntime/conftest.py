from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.small_bundle import write_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle, made once a file; not to be changed."""
    return write_bundle(tmp_path_factory.mktemp("bundle"))
