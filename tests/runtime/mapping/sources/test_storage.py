"""Files by paths, globs, folders and addresses."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest

from edgepipe.errors import DependencyError, InputError
from edgepipe.mapping.sources.storage import StoredFile, find_files, is_local

SUFFIXES = (".csv", ".jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", "year=2024/c.csv", "year=2023/lang=de/d.csv", "_job.json", ".hidden/e.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text\n{name}\n")
    return tmp_path


def test_a_folder_has_its_files_in_order_with_what_its_folders_name(folder: Path) -> None:
    found = find_files([folder], SUFFIXES)
    assert [(Path(file.path).relative_to(folder).as_posix(), dict(file.partition)) for file in found] == [
        ("a.csv", {}),
        ("b.csv", {}),
        ("year=2023/lang=de/d.csv", {"year": "2023", "lang": "de"}),
        ("year=2024/c.csv", {"year": "2024"}),
    ]
    assert found[0].size == len("text\na.csv\n")
    assert found[0].open().read() == b"text\na.csv\n"


def test_globs_and_several_paths(folder: Path) -> None:
    assert [file.name for file in find_files([folder / "*.csv"], SUFFIXES)] == ["a.csv", "b.csv"]
    assert [file.name for file in find_files([folder / "b.csv", folder / "a.csv"], SUFFIXES)] == ["b.csv", "a.csv"]
    strange = folder / "odd [name].csv"
    strange.write_text("x")
    assert [file.name for file in find_files([strange], SUFFIXES)] == [strange.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "is not there"),
        ("*.jsonl", "is not there"),
        (".hidden", "is not there, or has no file"),
        ("_job.json", "ends in .csv"),
    ],
    ids=["path", "glob", "hidden", "kind"],
)
def test_what_cannot_be_found(folder: Path, name: str, message: str) -> None:
    (folder / ".hidden" / "e.csv").unlink()
    with pytest.raises(InputError, match=message):
        find_files([folder / name], SUFFIXES)


def test_addresses_go_through_fsspec() -> None:
    root = f"memory://{uuid.uuid4().hex}"
    with fsspec.open(f"{root}/x/a.csv", "wb") as stream:
        stream.write(b"text\none\n")
    [file] = find_files([root], SUFFIXES)
    assert file.path.startswith("memory://")
    assert file.open().read() == b"text\none\n"
    assert [is_local(each) for each in (root, "a/b", "file:///a", "s3://b")] == [False, True, True, False]


def test_an_address_whose_package_is_missing_says_which() -> None:
    with pytest.raises(DependencyError, match="dropbox"):
        find_files(["dropbox://a/b.csv"], SUFFIXES)
    with pytest.raises(InputError, match="nosuch"):
        find_files(["nosuch://a/b.csv"], SUFFIXES)


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 300_000)
    file = StoredFile(str(path), 300_000)
    before = file.fingerprint()
    file.check_size()
    path.write_bytes(b"x" * 299_999 + b"y")
    assert file.fingerprint() != before
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="has changed since the job began: 1 bytes, 300000 before"):
        file.check_size()
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        file.check_size()
