"""What is written is synced before it takes its place, and a disk that fails then is an error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgepipe.errors import ExportError
from edgepipe_export.output.atomic_write import write_atomically
from edgepipe_export.output.durability import sync_names, sync_tree

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot sync a folder")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What was synced, and whether the bundle was in its place by then."""
    found: list[tuple[str, bool]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        found.append((path.name, (path.parent / "out").exists() or (path / "out").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc to ask for a descriptor's path")
def test_all_files_and_folders_are_synced_before_the_exchange(tmp_path: Path, synced: list[tuple[str, bool]]) -> None:
    with write_atomically(tmp_path / "out") as folder:
        (folder / "onnx").mkdir()
        for name in ("edgepipe.json", "onnx/model.onnx"):
            (folder / name).write_text("content")
    assert [name for name, _ in synced] == ["model.onnx", "onnx", "edgepipe.json", folder.name, tmp_path.name]
    assert [there for _, there in synced] == [False] * 4 + [True]


def fail(number: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `fsync` of folders, or of files, fail."""
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") is (kind == "folder"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)


def test_a_disk_that_fails_is_an_error_with_the_file_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(errno.EIO, "file", monkeypatch)
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(ExportError, match=r"cannot write .*out: Input/output error"),
        write_atomically(tmp_path / "out", overwrite=True) as folder,
    ):
        (folder / "edgepipe.json").write_text("content")
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == []


def test_a_folder_that_cannot_be_synced_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(errno.EINVAL, "folder", monkeypatch)
    (tmp_path / "file").write_text("content")
    sync_tree(tmp_path)
    sync_names(tmp_path)
    assert (tmp_path / "file").read_text() == "content"


def test_a_disk_that_fails_after_the_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, fsync = tmp_path / "out", os.fsync

    def refuse(descriptor: int) -> None:
        if output.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    said = r"out is written, but the disk did not confirm it \(Input/output error\)"
    with pytest.raises(ExportError, match=said), write_atomically(output) as folder:
        (folder / "edgepipe.json").write_text("content")
    assert (output / "edgepipe.json").read_text() == "content"
    assert os.listdir(tmp_path) == ["out"]
