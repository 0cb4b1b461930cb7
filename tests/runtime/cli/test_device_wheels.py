"""What is checked before wheels are fetched, and what is left where that fails; tests/packaging fetches some."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgepipe.cli import device_wheels
from edgepipe.cli.device_wheels import DEVICE_LOCK, Wheel, platform_tags, write_wheels
from edgepipe.errors import DependencyError, DownloadError, InputError


def test_the_lock_has_what_the_runtime_imports() -> None:
    names = re.findall(r"^([\w-]+)==", DEVICE_LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert names == ["click", "numpy", "onnxruntime", "tokenizers"]


def test_a_platform_takes_wheels_of_older_c_libraries_too() -> None:
    tags = platform_tags("linux_aarch64")
    assert tags[0] == "manylinux_2_28_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"} <= set(tags)
    assert platform_tags("win_amd64") == ["win_amd64"]


def test_a_requirement_is_a_version_with_its_hash() -> None:
    wheel = Wheel("numpy-2.4.6-cp311-cp311-manylinux_2_28_aarch64.whl", 1, "0f")
    assert wheel.requirement == "numpy==2.4.6 --hash=sha256:0f"


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_wheels(tmp_path, "linux_aarch64", "3.11")
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("python", ["3", "cp311", "3.11.2", "--index-url=x"])
def test_a_python_is_a_version(tmp_path: Path, python: str) -> None:
    with pytest.raises(InputError, match=re.escape(repr(python))):
        write_wheels(tmp_path / "wheels", "linux_aarch64", python)


def test_a_wheel_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no wheel"):
        write_wheels(tmp_path / "wheels", "linux_aarch64", "3.11", tmp_path / "edgepipe-0.1.0.tar.gz")


def test_where_pip_finds_nothing_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DownloadError, match=r"for linux_aarch64 and Python 3\.11 could not be fetched: No matching"):
        write_wheels(tmp_path / "deep" / "wheels", "linux_aarch64", "3.11")
    assert list((tmp_path / "deep").iterdir()) == []


def test_without_pip_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_wheels, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="ensurepip"):
        write_wheels(tmp_path / "wheels", "linux_aarch64", "3.11")
    assert list(tmp_path.iterdir()) == []
