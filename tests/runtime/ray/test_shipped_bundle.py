"""A bundle in the object store, and out of it on a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.bundle.directory import Bundle
from edgepipe.errors import BundleError
from edgepipe.ray import shipped_bundle
from edgepipe.ray.shipped_bundle import ship_bundle, unpack_bundle
from tests.runtime.small_bundle import write_bundle

ray = pytest.importorskip("ray")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_unpacked_as_it_was(connected: None, cache: Path, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle")
    place = unpack_bundle(ship_bundle(Bundle.load(path), "fp32"))
    assert place.is_relative_to(cache)
    assert names(place) == names(path)
    assert all((place / name).read_bytes() == (path / name).read_bytes() for name in names(path))
    assert Bundle.load(place).digest == Bundle.load(path).digest


def test_other_variants_stay(connected: None, cache: Path, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle", dtypes=("fp32", "int8"))
    place = unpack_bundle(ship_bundle(Bundle.load(path), "int8"))
    loaded = Bundle.load(place)
    assert loaded.dtypes == ("int8",)
    assert loaded.digest == Bundle.load(path).digest


def test_a_node_unpacks_once(connected: None, cache: Path, tmp_path: Path) -> None:
    shipped = ship_bundle(Bundle.load(write_bundle(tmp_path / "bundle")), "fp32")
    inode = unpack_bundle(shipped).stat().st_ino
    assert unpack_bundle(shipped).stat().st_ino == inode
    assert len(list((cache / "shipped").iterdir())) == 1


def test_bundles_of_other_content_have_other_places(connected: None, cache: Path, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle")
    first = unpack_bundle(ship_bundle(Bundle.load(path), "fp32"))
    (path / "notes.txt").write_text("more")
    second = unpack_bundle(ship_bundle(Bundle.load(path), "fp32"))
    assert first != second
    assert (second / "notes.txt").read_text() == "more"


def test_those_that_were_not_used_go(
    connected: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped_bundle, "MOST_BYTES", 1)
    path = write_bundle(tmp_path / "bundle")
    first = unpack_bundle(ship_bundle(Bundle.load(path), "fp32"))
    (path / "notes.txt").write_text("more")
    second = unpack_bundle(ship_bundle(Bundle.load(path), "fp32"))
    assert not first.exists()
    assert second.exists()


def test_no_room_is_an_error(connected: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "file"))
    shipped = ship_bundle(Bundle.load(write_bundle(tmp_path / "bundle")), "fp32")
    with pytest.raises(BundleError, match="cannot be written on this node"):
        unpack_bundle(shipped)
