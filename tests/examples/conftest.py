from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _kept_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two examples export the same checkpoint: the second goes on from what the first has kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPIPE_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield
