"""The smallest set that a device installs, and the same as a folder of wheels."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from edgepipe import pipeline
from edgepipe.cli.device_wheels import DEVICE_LOCK
from tests.golden.compare import assert_same
from tests.packaging.conftest import QUIET, Installation, make_environment
from tests.runtime.small_bundle import write_bundle

PACKAGES = {"edgepipe", "click", "numpy", "onnxruntime", "tokenizers"}
WITH_HASHES = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile")


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = make_environment(tmp_path_factory.mktemp("device"))
    installation.run("python", "-m", "pip", "install", *QUIET, *WITH_HASHES, "--requirement", DEVICE_LOCK)
    installation.run("python", "-m", "pip", "install", *QUIET, "--no-deps", "--no-compile", wheel)
    return installation


def list_packages(installation: Installation) -> set[str]:
    listed = json.loads(installation.run("python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"))
    return {package["name"].lower() for package in listed} - {"pip", "setuptools"}


def test_there_is_nothing_but_what_is_listed(device: Installation) -> None:
    assert list_packages(device) == PACKAGES


def test_the_embedded_model_answers(device: Installation) -> None:
    assert device.run("edgepipe", "run", "I love this").startswith("POSITIVE")
    assert device.run("edgepipe", "run", "What a waste of time.", "--verify", "always").startswith("NEGATIVE")


def test_a_bundle_from_a_directory_answers_as_it_does_here(device: Installation, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    answer = json.loads(device.run("edgepipe", "run", folder, "a b c", "--json"))["output"]
    assert_same([answer], pipeline(model=folder)(["a b c"]))


@pytest.mark.parametrize("command", [("env",), ("info",), ("check",), ("demo",)], ids=str)
def test_the_commands_that_need_no_exporter_run(device: Installation, command: tuple[str, ...]) -> None:
    assert device.run("edgepipe", *command)


def test_a_hub_id_says_what_is_missing(device: Installation) -> None:
    with pytest.raises(AssertionError, match="pip install huggingface_hub") as raised:
        device.run("edgepipe", "run", "owner/name", "a text")
    assert "Traceback" not in str(raised.value)


def test_wheels_are_installed_without_a_network(
    device: Installation, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = json.loads(device.run("edgepipe", "bundle-wheels", tmp_path / "wheels", "--json", "--quiet"))
    assert {parse_wheel_filename(entry["file"])[0] for entry in written["wheels"]} == PACKAGES
    (own,) = (entry["file"] for entry in written["wheels"] if entry["file"].startswith("edgepipe"))
    assert own == wheel.name
    with zipfile.ZipFile(tmp_path / "wheels" / own) as packed, zipfile.ZipFile(wheel) as built:
        assert {name: packed.read(name) for name in packed.namelist() if not name.endswith("/RECORD")} == {
            name: built.read(name) for name in built.namelist() if not name.endswith("/RECORD")
        }
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")  # nobody answers there
    offline = make_environment(tmp_path / "offline")
    requirements = tmp_path / "wheels" / "requirements.txt"
    offline.run("python", "-m", "pip", "install", *QUIET, "--no-compile", "--no-deps", "-r", requirements)
    assert list_packages(offline) == PACKAGES
    assert offline.run("edgepipe", "run", "I love this").startswith("POSITIVE")


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_wheels_for_a_board_have_its_tags(device: Installation, tmp_path: Path, python: str) -> None:
    arguments = ("--platform", "linux_aarch64", "--python", python, "--json", "--quiet")
    written = json.loads(device.run("edgepipe", "bundle-wheels", tmp_path / "wheels", *arguments))
    tags = {name: found for name, _, _, found in (parse_wheel_filename(each["file"]) for each in written["wheels"])}
    assert set(tags) == PACKAGES
    machines = {name: {tag.platform.rpartition("_")[2] for tag in found} for name, found in tags.items()}
    assert machines == {name: {"any" if name in ("edgepipe", "click") else "aarch64"} for name in PACKAGES}
    for name in ("numpy", "onnxruntime"):
        assert {tag.interpreter for tag in tags[name]} == {f"cp{python.replace('.', '')}"}


def test_wheels_are_for_this_machine_unless_another_is_named(device: Installation, tmp_path: Path) -> None:
    written = json.loads(device.run("edgepipe", "bundle-wheels", tmp_path / "wheels", "--json", "--quiet"))
    assert written["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert written["install"] == "python3 -m pip install --no-deps -r wheels/requirements.txt"
