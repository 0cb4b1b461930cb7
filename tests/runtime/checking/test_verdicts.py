"""Verdicts on the disk: kept, found by another process, forgotten where they are damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepipe.checking import verdicts
from edgepipe.checking.verdicts import find_verdict, keep_verdict, name_verdict


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "cache"))
    forget(monkeypatch)
    return tmp_path / "cache" / "verdicts"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process begins."""
    monkeypatch.setattr(verdicts, "_known", {})


@pytest.mark.parametrize("cause", [None, "it overflows"])
def test_another_process_finds_it(cache: Path, monkeypatch: pytest.MonkeyPatch, cause: str | None) -> None:
    name = name_verdict({"dtype": "int8", "threads": 2})
    assert find_verdict(name) == (False, None)
    assert keep_verdict(name, cause) is None
    forget(monkeypatch)
    assert find_verdict(name) == (True, cause)
    assert [path.suffix for path in cache.iterdir()] == [".json"]


def test_anything_that_decides_is_in_the_name() -> None:
    names = {name_verdict({"dtype": dtype, "threads": threads}) for dtype in ("int8", "w8") for threads in (1, 2)}
    assert len(names) == 4
    assert name_verdict({"a": 1, "b": 2}) == name_verdict({"b": 2, "a": 1})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cause": 3}', b"\xff", b" " * 20_000])
def test_a_damaged_one_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    name = name_verdict({"damaged": content.hex()[:40]})
    keep_verdict(name, None)
    forget(monkeypatch)
    [path] = cache.iterdir()
    path.write_bytes(content)
    assert find_verdict(name) == (False, None)


def test_nothing_is_written_where_nothing_is_to_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPIPE_CACHE", "")
    monkeypatch.chdir(tmp_path)
    name = name_verdict({"kept": "nowhere"})
    assert keep_verdict(name, None) is None
    assert find_verdict(name) == (True, None), "this process knows it"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "file"))
    found = keep_verdict(name_verdict({"kept": "in a file"}), None)
    assert found is not None
    assert str(tmp_path / "file" / "verdicts") in found


def test_the_oldest_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_LIMIT", 300)
    for number in range(20):
        keep_verdict(name_verdict({"number": number}), "x" * 50)
        for path in cache.iterdir():
            os.utime(path, (path.stat().st_atime - 10, path.stat().st_mtime - 10))
    assert 1 <= len(list(cache.iterdir())) <= 5
    forget(monkeypatch)
    assert find_verdict(name_verdict({"number": 19}))[0]
