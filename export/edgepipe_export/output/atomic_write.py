"""Writing a bundle whole or not at all: beside its destination first, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepipe.bundle.integrity import sha256
from edgepipe.bundle.layout import GRAPH_FOLDER, MANIFEST_NAME, REPORT_NAME
from edgepipe.bundle.manifest import FileEntry
from edgepipe.errors import EdgepipeError, ExportError
from edgepipe_export.output.durability import sync_names, sync_tree
from edgepipe_export.output.partial_folders import OLD, create_partial, hold_parent, recover, remove, sibling

# Linux's <fcntl.h> and <linux/fs.h>: a path is relative to the working directory; two names are swapped.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def check_destination(output: Path, overwrite: bool) -> None:
    """Make sure that a bundle may be written, before the long work starts.

    Raises:
        ExportError: something is there that must not be replaced, or the parent directory is missing.
    """
    if not output.name:
        raise ExportError(f"{output} is no name for a bundle's directory")
    if not output.parent.is_dir():
        raise ExportError(f"{output.parent} is not a directory; create it, the bundle is written into it")
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise ExportError(
            f"{output} exists; name another directory, or pass overwrite=True (--overwrite) to replace it"
        )
    if output.is_symlink() or not output.is_dir():
        raise ExportError(f"{output} is not a directory; overwriting replaces bundles only")
    if any(output.iterdir()) and not (output / MANIFEST_NAME).is_file():
        raise ExportError(
            f"{output} is not a bundle (it has files, but no {MANIFEST_NAME}); overwriting replaces bundles only"
        )


@contextmanager
def write_atomically(output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A new directory beside `output` that takes its place when the block ends well.

    Whatever else happens, an interrupt included, the directory is removed and what was there before stays. Of a process
    that is killed the next run removes what it left (see :mod:`~edgepipe_export.output.partial_folders`).

    Raises:
        ExportError: the directory cannot be made, what is at `output` must not be replaced, another process writes it,
            or the disk is full.
    """
    with hold_parent(output):
        recover(output)
    check_destination(output, overwrite)
    folder = None
    try:
        with create_partial(output) as folder:
            yield folder
            sync_tree(folder)
            check_destination(output, overwrite)  # the long work is over: another process may have been there
            with hold_parent(output):
                _move_into_place(folder, output)
                _confirm(output)  # before the one that was there goes
                remove(folder)
    except EdgepipeError:
        raise
    except Exception as error:
        reason = f"{error.strerror or error}" if isinstance(error, OSError) else ""
        if folder is None:
            raise ExportError(f"cannot write into {output.parent}: {reason or error}") from error
        names = _file_names(error)
        # Where other folders' files are named alone, another disk may be it.
        if is_full(error) and (not names or any(name.startswith(str(output.parent)) for name in names)):
            raise ExportError(
                f"cannot write {output}: {_explain_full(error)}; what was there before is still there. Make room "
                f"({_free_space(output.parent)} are free), or name a directory on another disk"
            ) from error
        # Only what the system says about files of ours; other errors pass as they are.
        if not any(name.startswith(str(folder)) for name in names):
            raise
        raise ExportError(f"cannot write {output}: {reason}") from error


def _file_names(error: Exception) -> list[str]:
    """The files that an error names; that of a copy names the source first."""
    given = (error.filename, error.filename2) if isinstance(error, OSError) else ()
    return [str(name) for name in given if name is not None]


# No space, no space for this user, a file larger than may be; and how Rust and numpy say so, without a number.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = re.compile(
    r"\(os error (28|122|27)\)|No space left on device|\d+ requested and \d+ written|problem writing element \d+"
)


def is_full(error: Exception) -> bool:
    """Whether an error says that there is no more room on a disk, whatever library it comes from."""
    return (isinstance(error, OSError) and error.errno in _FULL) or _FULL_TEXT.search(str(error)) is not None


def _explain_full(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _FULL:
        return str(error.strerror)
    return os.strerror(errno.ENOSPC)


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB"
    except OSError:
        return "unknown MB"


def _move_into_place(folder: Path, output: Path) -> None:
    if not output.exists():
        folder.rename(output)
        return
    if _exchange(folder, output):
        return  # the one that was there is removed with the folder
    old = sibling(output, OLD)
    output.rename(old)
    try:
        folder.rename(output)
    except BaseException:
        old.rename(output)
        raise
    remove(old)


def _confirm(output: Path) -> None:
    """Wait until the new name is on the disk.

    Raises:
        ExportError: the disk failed. What was there before is gone.
    """
    try:
        sync_names(output.parent)
    except OSError as error:
        raise ExportError(
            f"{output} is written, but the disk did not confirm it ({error.strerror}); check the disk, "
            "then export again"
        ) from error


def _exchange(one: Path, other: Path) -> bool:
    """Have two directories swap their names in one step, so that neither name is ever free; whether that was possible.

    Python has no function for Linux's ``renameat2`` (man 2 rename).
    """
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    failed: int = rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return failed == 0


def describe_file(folder: Path, path: Path) -> FileEntry:
    """The manifest's entry of a file."""
    return FileEntry(path.relative_to(folder).as_posix(), path.stat().st_size, sha256(path))


def describe_shared_files(folder: Path) -> tuple[FileEntry, ...]:
    """The entries of the files that all variants share: all but graphs, manifest, report and model card.

    The last two are for people: they may edit or remove them, and that must not make a bundle look damaged.
    """
    left_out = {folder / MANIFEST_NAME, folder / "README.md", folder / REPORT_NAME}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path not in left_out)
    return tuple(describe_file(folder, path) for path in paths if path.relative_to(folder).parts[0] != GRAPH_FOLDER)
