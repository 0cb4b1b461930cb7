"""Files of a job are whole or absent, here and at addresses."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path

import pytest

from edgepipe.errors import InputError
from edgepipe.mapping.output_folder import OutputFolder


@pytest.fixture(params=["path", "address"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> OutputFolder:
    return OutputFolder(str(tmp_path / "a" / "b") if request.param == "path" else f"memory://{uuid.uuid4().hex}/b")


def test_files_are_written_and_read(folder: OutputFolder) -> None:
    assert folder.names() == set()
    folder.write("x.txt", lambda path: path.write_bytes(b"one") and None)
    folder.write("x.txt", lambda path: path.write_bytes(b"two") and None)
    assert (folder.names(), folder.read("x.txt")) == ({"x.txt"}, b"two")
    folder.remove("x.txt")
    folder.remove("x.txt")
    assert folder.names() == set()


def test_what_fails_leaves_nothing(folder: OutputFolder) -> None:
    def fill_disk(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"x.txt cannot be written: No space left on device; make room"):
        folder.write("x.txt", fill_disk)

    def stop(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.write("x.txt", stop)
    assert folder.names() == set()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".part-1.csv.partial-00aa").write_text("half")
    (tmp_path / ".other").write_text("mine")
    folder = OutputFolder(str(tmp_path))
    folder.remove_leftovers()
    assert folder.names() == {".other"}
    folder.remove_if_empty()
    assert tmp_path.is_dir()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        OutputFolder(str(tmp_path / "x")).names()
    with pytest.raises(InputError, match="cannot be written"):
        OutputFolder(str(tmp_path / "x" / "y")).write("z", lambda path: None)
