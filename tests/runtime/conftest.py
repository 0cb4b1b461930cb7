"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_bundles(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A tiny bundle for each task, made when it is first asked for: directories by names."""
    from tests.runtime.tiny_bundles import TinyBundles  # it needs torch, which most tests of this folder do not

    return TinyBundles(tmp_path_factory.mktemp("tiny"))
