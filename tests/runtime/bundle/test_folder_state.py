"""Whether a folder changed while it was read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepipe.bundle import folder_state
from edgepipe.bundle.folder_state import FolderState, read_folder_state, read_unchanged
from edgepipe.errors import BundleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle" / "onnx").mkdir(parents=True)
    (tmp_path / "bundle" / "config.json").write_text("{}")
    (tmp_path / "bundle" / "onnx" / "model.onnx").write_bytes(b"graph")
    return tmp_path / "bundle"


def replace_file(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(content)
    os.replace(beside, path)


def test_every_change_is_seen(folder: Path) -> None:
    states = [read_folder_state(folder)]
    assert states[0] == read_folder_state(folder)
    replace_file(folder / "onnx" / "model.onnx", b"other")  # of one size
    states.append(read_folder_state(folder))
    (folder / "config.json").write_text("[]")
    os.utime(folder / "config.json", ns=(1, 1))
    states.append(read_folder_state(folder))
    (folder / "onnx" / "model_int8.onnx").write_bytes(b"")
    states.append(read_folder_state(folder))
    (folder / "config.json").unlink()
    states.append(read_folder_state(folder))
    folder.rename(folder.with_name("elsewhere"))
    states.append(read_folder_state(folder))
    assert len(set(states)) == len(states)


def test_what_is_read_meanwhile_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_state, "_PAUSE", 0.0)
    seen = []

    def read(state: FolderState) -> str:
        seen.append((folder / "config.json").read_text())
        if len(seen) < 3:
            replace_file(folder / "config.json", str(len(seen)).encode())
        return seen[-1]

    assert read_unchanged(read, folder) == "2"
    assert seen == ["{}", "1", "2"]


def test_a_file_that_is_gone_for_a_moment_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_state, "_PAUSE", 0.0)
    attempts = []

    def read(state: FolderState) -> bytes:
        attempts.append(state)
        if len(attempts) == 1:
            (folder / "config.json").unlink()
        elif len(attempts) == 2:
            (folder / "config.json").write_text("new")
        return (folder / "config.json").read_bytes()

    assert read_unchanged(read, folder) == b"new"


def test_an_error_while_nothing_changes_is_the_reader_s_own(folder: Path) -> None:
    def fail(state: FolderState) -> None:
        raise BundleError("damaged")

    with pytest.raises(BundleError, match="damaged"):
        read_unchanged(fail, folder)


def test_a_folder_that_goes_on_changing_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_state, "_PAUSE", 0.0)

    def read(state: FolderState) -> None:
        replace_file(folder / "config.json", b"again")

    with pytest.raises(BundleError, match="changes while it is read; try again when nothing writes to it"):
        read_unchanged(read, folder)
