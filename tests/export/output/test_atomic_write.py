from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from edgepipe.errors import ExportError
from edgepipe_export.output.atomic_write import check_destination, write_atomically


def test_the_directory_appears_when_the_block_ends(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with write_atomically(output) as folder:
        (folder / "file").write_text("content")
        assert not output.exists()
    assert (output / "file").read_text() == "content"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_whatever_stops_the_block_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def stop(folder: Path) -> NoReturn:
        (folder / "file").write_text("content")
        raise error

    with pytest.raises(error), write_atomically(tmp_path / "out") as folder:
        stop(folder)
    assert os.listdir(tmp_path) == []


def test_a_second_interrupt_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def interrupted(folder: Path) -> NoReturn:
        monkeypatch.setattr(shutil, "rmtree", remove)
        (folder / "one").unlink()
        raise KeyboardInterrupt

    def stop(folder: Path) -> NoReturn:
        (folder / "one").touch()
        (folder / "other").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), write_atomically(tmp_path / "out") as folder:
        stop(folder)
    assert os.listdir(tmp_path) == []


def test_what_was_there_stays_when_the_block_fails(copied: Path) -> None:
    before = sorted(os.listdir(copied))
    with pytest.raises(KeyboardInterrupt), write_atomically(copied, overwrite=True):
        raise KeyboardInterrupt
    assert sorted(os.listdir(copied)) == before
    assert os.listdir(copied.parent) == [copied.name]


def test_a_bundle_is_replaced_when_asked(copied: Path) -> None:
    with write_atomically(copied, overwrite=True) as folder:
        (folder / "new").touch()
        assert (copied / "edgepipe.json").exists()
    assert os.listdir(copied) == ["new"]
    assert os.listdir(copied.parent) == [copied.name]


def test_an_empty_directory_is_replaced_when_asked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with write_atomically(tmp_path / "out", overwrite=True) as folder:
        (folder / "new").touch()
    assert os.listdir(tmp_path / "out") == ["new"]


def test_a_foreign_directory_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ExportError, match="not a bundle"), write_atomically(tmp_path, overwrite=True):
        pass
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_what_is_no_directory_is_never_replaced(tmp_path: Path, copied: Path, kind: str) -> None:
    output = tmp_path / "out"
    if kind == "file":
        output.touch()
    else:
        output.symlink_to(copied if kind == "link" else tmp_path / "nothing")
    with pytest.raises(ExportError, match="not a directory"):
        check_destination(output, overwrite=True)


def test_an_output_that_exists(copied: Path) -> None:
    with pytest.raises(ExportError, match=r"exists.*overwrite"):
        check_destination(copied, overwrite=False)


def test_an_output_that_comes_into_being_meanwhile(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(ExportError, match="exists"), write_atomically(output):
        output.mkdir()
    assert os.listdir(tmp_path) == ["out"]


def test_a_parent_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not a directory"):
        check_destination(tmp_path / "no" / "out", overwrite=False)


def test_a_parent_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere, whatever the permissions say
    with pytest.raises(ExportError, match=r"cannot write into.*Permission denied"), write_atomically(tmp_path / "out"):
        pass


def test_a_full_disk(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError, match=r"cannot write .*out: No space left"),
        write_atomically(tmp_path / "out") as folder,
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "onnx" / "model.onnx_data"))
    assert os.listdir(tmp_path) == []
