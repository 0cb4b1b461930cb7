"""Exports that are killed: what was there before comes back, what they left goes, and two writers are told apart."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgepipe.errors import ExportError
from edgepipe_export.output.atomic_write import write_atomically
from edgepipe_export.output.partial_folders import OLD, PARTIAL, create_partial, recover, sibling

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")

# Overwrites a bundle, and says where it is; the parent kills it there.
OVERWRITE = """
    import os, sys, time
    from pathlib import Path
    if sys.argv[2] == "two renames":
        sys.platform = "darwin"
    from edgepipe_export.output import atomic_write
    output, place = Path(sys.argv[1]), sys.argv[3]

    def stop(*_):
        print("here", flush=True)
        time.sleep(100)

    if place == "between the renames":
        rename = Path.rename
        def rename_once(self, target):
            rename(self, target)
            Path.rename = stop
        Path.rename = rename_once
    if place == "before the old one is removed":
        atomic_write.remove = stop
    with atomic_write.write_atomically(output, overwrite=True) as folder:
        (folder / "edgepipe.json").write_text("new")
        if place == "while it is written":
            stop()
"""
PLACES = ["while it is written", "before the old one is removed", "between the renames"]


def start(output: Path, way: str, place: str) -> subprocess.Popen[str]:
    """The process, stopped at its place."""
    arguments = [sys.executable, "-c", textwrap.dedent(OVERWRITE), str(output), way, place]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "edgepipe.json").write_text("old")
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others cannot swap two names")
@pytest.mark.parametrize("place", PLACES[:2])
def test_with_an_exchange_there_is_a_bundle_at_every_moment(output: Path, place: str) -> None:
    process = start(output, "exchange", place)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (output / "edgepipe.json").read_text() == ("old" if place == PLACES[0] else "new")
    assert len(os.listdir(output.parent)) == 2, "what it left"
    with write_atomically(output, overwrite=True) as folder:
        (folder / "edgepipe.json").write_text("newest")
        assert sorted(os.listdir(output.parent)) == sorted([folder.name, "bundle"]), "it is gone at the beginning"
    assert os.listdir(output.parent) == ["bundle"]
    assert (output / "edgepipe.json").read_text() == "newest"


@pytest.mark.parametrize("place", PLACES)
def test_with_two_renames_the_next_run_puts_the_bundle_back(output: Path, place: str) -> None:
    process = start(output, "two renames", place)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert output.exists() is (place != "between the renames")
    with pytest.raises(ExportError, match="exists"), write_atomically(output):
        pass
    assert (output / "edgepipe.json").read_text() == ("new" if place == PLACES[1] else "old")
    assert os.listdir(output.parent) == ["bundle"]


def test_two_writers(output: Path) -> None:
    process = start(output, "exchange", "while it is written")
    try:
        with (
            pytest.raises(ExportError, match=r"another process writes .*bundle at this moment \(\.bundle\.partial-"),
            write_atomically(output, overwrite=True),
        ):
            pass
        with write_atomically(output.with_name("other")) as folder:
            (folder / "file").touch()
        assert (output.with_name("other") / "file").exists()
    finally:
        process.kill()
        process.wait()
    recover(output)
    assert sorted(os.listdir(output.parent)) == ["bundle", "other"]


def test_names_that_only_look_alike_stay(output: Path) -> None:
    kept = [".bundle2.partial-0123", ".bundle.partial", "bundle.old-1", ".other.old-0123"]
    for name in kept:
        output.with_name(name).mkdir()
    output.with_name(".bundle.partial-file").touch()
    recover(output)
    assert sorted(os.listdir(output.parent)) == sorted([*kept, "bundle", ".bundle.partial-file"])


def test_the_newest_of_nothing_is_put_back_once(output: Path) -> None:
    output.rename(sibling(output, OLD))
    shutil.copytree(next(output.parent.iterdir()), sibling(output, OLD))
    sibling(output, PARTIAL).mkdir()
    recover(output)
    assert os.listdir(output.parent) == ["bundle"]


def test_where_no_folder_can_be_locked_what_was_left_stays_and_is_nobody_s_work(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = sibling(output, PARTIAL)
    left.mkdir()
    with write_atomically(output, overwrite=True) as folder:
        (folder / "edgepipe.json").write_text("new")
    assert (output / "edgepipe.json").read_text() == "new"
    assert sorted(os.listdir(output.parent)) == sorted([left.name, "bundle"])


def test_a_folder_is_ours_as_long_as_the_block_lasts(output: Path) -> None:
    with create_partial(output) as folder:
        recover(output)
        assert folder.is_dir()
    recover(output)
    assert not folder.exists()
