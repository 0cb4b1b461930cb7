from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kept_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one example has kept, for the next."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def _keep_work(kept_work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two examples export the same checkpoint: the second goes on from what the first has kept."""
    monkeypatch.setenv("EDGEPIPE_CACHE", str(kept_work))
