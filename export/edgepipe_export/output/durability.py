"""What is written reaches the disk before its name does: a power cut after an export leaves no empty files.

A rename may reach the disk before the content of the files that it names. So everything in a folder is synced first.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

# What systems say of folders that cannot be opened, or synced: Windows, and some network file systems.
_NO_SYNC = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EBADF)
# Windows syncs only what may be written; elsewhere a file may be read-only.
_FILE_FLAGS = os.O_RDWR if os.name == "nt" else os.O_RDONLY


def sync_tree(folder: Path) -> None:
    """Wait until all files in a folder, and their names, are on the disk.

    Raises:
        OSError: the disk failed or is full; the error names the file.
    """
    for parent, _, names in os.walk(folder, topdown=False):
        for name in sorted(names):
            _sync(os.path.join(parent, name), _FILE_FLAGS)
        sync_names(Path(parent))


def sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that for a folder.

    Raises:
        OSError: the disk failed or is full; the error names the folder.
    """
    try:
        _sync(os.fspath(folder), os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)
