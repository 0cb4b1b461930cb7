from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from edgepipe.errors import ExportError
from edgepipe_export.output.atomic_write import check_destination, is_full, write_atomically
from tests.runtime.processes import run_python


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


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),  # as write() says it, without a name
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError("8192 requested and 512 written"),  # numpy's
        Exception("No space left on device (os error 28)"),  # Rust's
    ],
)
def test_a_full_disk_by_whatever_library_says_it(copied: Path, error: Exception) -> None:
    before = sorted(os.listdir(copied))
    said = r"cannot write .*: .*; what was there before is still there\. Make room \([\d,]+ MB are free\)"
    with pytest.raises(ExportError, match=said), write_atomically(copied, overwrite=True):
        raise error
    assert sorted(os.listdir(copied)) == before
    assert os.listdir(copied.parent) == [copied.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("step", [1, 2], ids=["whole", "strided"])
def test_a_full_disk_as_numpy_says_it(step: int) -> None:
    with Path("/dev/full").open("wb") as file, pytest.raises(OSError, match="writ") as caught:
        np.ones((3000, 3000))[::step].tofile(file)
    assert is_full(caught.value)


def test_a_full_disk_elsewhere_is_not_said_to_be_the_bundle_s(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    said = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "there" / "file"))
    with pytest.raises(OSError, match="No space left") as caught, write_atomically(tmp_path / "here" / "out"):
        raise said
    assert caught.value is said
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_copy_that_fails_names_its_source_first(tmp_path: Path, number: int) -> None:
    (tmp_path / "here").mkdir()
    output = tmp_path / "here" / "out"
    source = str(tmp_path / "there" / "file")
    with (
        pytest.raises(ExportError, match=f"cannot write .*out: {os.strerror(number)}"),
        write_atomically(output) as folder,
    ):
        raise OSError(number, os.strerror(number), source, None, str(folder / "file"))
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("how", ["text", "array", "graph"])
def test_a_file_that_the_system_lets_grow_no_further(tmp_path: Path, how: str) -> None:
    program = """
        import resource, sys
        from pathlib import Path
        import numpy as np, onnx
        from onnx import helper, numpy_helper
        from edgepipe.errors import ExportError
        from edgepipe_export.output.atomic_write import write_atomically

        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        values = np.zeros(100_000, np.float32)
        try:
            with write_atomically(Path(sys.argv[1])) as folder:
                if sys.argv[2] == "text":
                    (folder / "file").write_text("a" * 100_000)
                elif sys.argv[2] == "array":
                    values.tofile(folder / "file")
                else:
                    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(values, "values")])
                    onnx.save_model(helper.make_model(graph), folder / "model.onnx", save_as_external_data=True)
        except ExportError as error:
            print(error)
    """
    said = run_python(program, str(tmp_path / "out"), how)
    assert said.startswith(f"cannot write {tmp_path / 'out'}: ")
    assert "what was there before is still there" in said
    assert os.listdir(tmp_path) == []
