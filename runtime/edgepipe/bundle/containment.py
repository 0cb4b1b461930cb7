"""Whether a folder of a stranger holds all that is read of it: no link leads out of it, and each entry is a file.

A link in a folder that was unpacked or cloned may name any file of this machine: what is read through it ends up in
results, messages or the bundle that is published. A pipe or a device has whoever reads it wait, or never ends.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgepipe.bundle.integrity import find_obstacle
from edgepipe.errors import BundleError

# The folders of the Hub's cache: a snapshot holds links to the files of all snapshots of its repository.
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"


def require_contained(folder: Path) -> None:
    """Check a bundle's folder, or a tokenizer's; see :func:`find_stranger`.

    Raises:
        BundleError: it has such an entry.
    """
    found = find_stranger(folder)
    if found is not None:
        raise BundleError(found)


def find_stranger(folder: Path) -> str | None:
    """The first entry of a folder, or of the folders in it, that must not be read, and what to do about it.

    That is a link out of the folder, or something that is neither file nor folder. A link of a snapshot in the Hub's
    cache to a file of that repository is none, nor is a link to nothing: who needs it misses it.

    Returns:
        What is wrong and what to do; None where all is well.
    """
    root = Path(os.path.realpath(folder))
    places = (root, *_blobs_of(root))
    for entry in _walk(os.fspath(folder)):
        path = Path(entry.path)
        if entry.is_symlink():
            target = os.path.realpath(path)
            if not is_within(Path(target), *places) and os.path.lexists(target):
                return (
                    f"{path} is a link to {target}, out of {folder}, and is not followed; where you trust it, copy the "
                    "folder with the files that its links name (cp -rL)"
                )
        if _is_special(path):
            return find_obstacle(path)
    return None


def is_within(path: Path, *folders: Path) -> bool:
    """Whether a path without links is in one of these folders, or is one of them."""
    return any(map(path.is_relative_to, folders))


def _blobs_of(root: Path) -> tuple[Path, ...]:
    return (root.parent.parent / _BLOBS,) if root.parent.name == _SNAPSHOTS else ()


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """All links, and all that is neither file nor folder; a folder that may not be read is for others to miss."""
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif not entry.is_file(follow_symlinks=False):
            yield entry


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
