"""Where records are kept between runs, and which go when there are too many."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgepipe.backend.disk_cache import cache_folder, mark_used, prune_records


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    for number, name in enumerate(("file", "folder", "other")):
        (tmp_path / "folder").mkdir(exist_ok=True)
        place = tmp_path / name / "part" if name == "folder" else tmp_path / name
        place.write_bytes(bytes(100))
        os.utime(tmp_path / name, (number, number))
    assert prune_records(tmp_path.iterdir(), 300) == []
    mark_used(tmp_path / "file")
    assert prune_records([*tmp_path.iterdir(), tmp_path / "gone"], 250) == [tmp_path / "folder"]
    assert {path.name for path in tmp_path.iterdir()} == {"file", "other"}
    assert prune_records(tmp_path.iterdir(), 0) == [tmp_path / "other", tmp_path / "file"]


def test_where_records_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("EDGEPIPE_CACHE", "")
    assert cache_folder() is None


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="those have places of their own")
def test_where_records_lie_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPIPE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in (("", ".cache"), ("relative", ".cache"), (str(tmp_path / "own"), "own")):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache_folder() == tmp_path / expected / "edgepipe"
