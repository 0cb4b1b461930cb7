"""A bundle that goes through Ray's object store to nodes that have no storage in common: each unpacks it once."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgepipe.backend.disk_cache import cache_folder, make_private_folder, mark_used, prune_records
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import STORED_AS
from edgepipe.errors import BundleError
from edgepipe.ray.ray_module import load_ray

# The most bytes of bundles that a node keeps; those that were used last stay.
MOST_BYTES = 16 << 30

_FOLDER = "shipped"


@dataclass(frozen=True)
class ShippedBundle:
    """A bundle in the object store.

    Attributes:
        digest: Of all its files, names and content.
        files: The bytes of each in the store, by its path in the bundle.
    """

    digest: str
    files: Mapping[str, Any]


def ship_bundle(bundle: Bundle, dtype: str) -> ShippedBundle:
    """Put the files that a variant needs into the object store.

    Args:
        bundle: The bundle.
        dtype: The variant; files of others stay here, where a manifest says whose they are.
    """
    ray = load_ray()
    digest = hashlib.sha256()
    files = {}
    for path in _list_files(bundle, STORED_AS.get(dtype, dtype)):
        name = path.relative_to(bundle.path).as_posix()
        content = np.fromfile(path, dtype=np.uint8)
        digest.update(f"{len(name)} {name} {content.size} ".encode("utf-8", "surrogatepass"))
        digest.update(content.data)
        files[name] = ray.put(content)
    return ShippedBundle(digest.hexdigest(), files)


def unpack_bundle(shipped: ShippedBundle) -> Path:
    """The bundle's folder on this node: written whole, by whichever process is first.

    Raises:
        BundleError: there is no room for it.
    """
    root = (cache_folder() or Path(tempfile.gettempdir()) / f"edgepipe-{os.getuid()}") / _FOLDER
    place = root / shipped.digest[:32]
    if not place.is_dir():
        try:
            make_private_folder(root)
            _write(shipped, place)
        except OSError as error:
            raise BundleError(
                f"{place} cannot be written on this node: {error.strerror}; make room, or name another folder there "
                "with EDGEPIPE_CACHE"
            ) from error
        others = [folder for folder in root.iterdir() if folder != place and not folder.name.startswith(".")]
        prune_records(others, MOST_BYTES)
    mark_used(place)
    return place


def _write(shipped: ShippedBundle, place: Path) -> None:
    ray = load_ray()
    partial = place.with_name(f".{place.name}.partial-{secrets.token_hex(4)}")
    try:
        for name, content in shipped.files.items():
            path = partial / PurePosixPath(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            ray.get(content).tofile(path)
        try:
            os.rename(partial, place)
        except OSError:
            if not place.is_dir():
                raise  # else another process was first
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _list_files(bundle: Bundle, dtype: str) -> Iterator[Path]:
    """The files of a bundle without those of other variants, in the order of their names."""
    others: set[Path] = set()
    if bundle.manifest is not None:
        others = {file for other in bundle.dtypes for file in bundle.files(other)} - set(bundle.files(dtype))
    for path in sorted(bundle.path.rglob("*")):
        if path.is_file() and path not in others:
            yield path
