"""A bundle by hand, which is fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.small_bundle import write_bundle


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that takes next to no time."""
    return write_bundle(tmp_path_factory.mktemp("small") / "bundle")
