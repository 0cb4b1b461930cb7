"""The locks name all that a stage installs, at the versions of constraints.txt, with hashes and without addresses."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from scripts.lock import BUILD, DEVICE, LEFT_OUT, OLDEST, keep, list_pins, list_unpinned, lock_file, normal
from scripts.lock import main as lock
from scripts.set_up import LOCKS, STAGES
from scripts.set_up_oldest import list_oldest

from tests.packaging.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
AGAIN = "constraints.txt or pyproject.toml changed after the lock was written. Run `make lock`."


def read(name: str) -> str:
    return lock_file(name).read_text(encoding="utf-8")


def asked(extra: str) -> Iterator[Requirement]:
    """What the package and one of its extras ask for, and the extras that it is made of."""
    for entry in map(Requirement, PROJECT["project"]["optional-dependencies"][extra]):
        if normal(entry.name) == "edgepipe":
            for other in entry.extras:
                yield from asked(other)
        else:
            yield entry
    yield from map(Requirement, PROJECT["project"]["dependencies"])


def requirements(name: str) -> list[Requirement]:
    """What a lock was made for."""
    if name == DEVICE:
        return list(asked("cpu"))
    if name == BUILD:
        return [Requirement(entry) for entry in PROJECT["build-system"]["requires"]]
    return [entry for entry in asked(STAGES[name][0]) if not LEFT_OUT.fullmatch(normal(entry.name))]


def test_there_is_a_lock_for_each_stage_and_no_other() -> None:
    assert {file.stem for file in LOCKS.iterdir()} == {BUILD, *STAGES, OLDEST}


@pytest.mark.parametrize("name", [BUILD, *STAGES, DEVICE, OLDEST])
def test_an_entry_is_a_version_with_hashes(name: str) -> None:
    entries = re.split(r"^(?=[^\s#])", read(name), flags=re.MULTILINE)[1:]
    entry = re.compile(r"[a-z0-9-]+==[\w.!+]+( ; [\w.'<>=!() -]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")
    assert [text for text in entries if not entry.fullmatch(text)] == []
    names = [pinned for pinned, _ in list_pins(read(name))]
    assert names == sorted(names)
    # One entry for each system, where its markers are not the same.
    assert len(entries) == len(names)


@pytest.mark.parametrize("name", [BUILD, *STAGES, DEVICE, OLDEST])
def test_no_address_and_no_path_is_in_a_lock(name: str) -> None:
    assert not re.search(r"https?:|file:|index-url|find-links|/tmp|/home", read(name))


@pytest.mark.parametrize("name", [BUILD, *STAGES, DEVICE])
def test_the_versions_are_those_of_the_constraints(name: str) -> None:
    assert list_unpinned(read(name)) == set(), AGAIN


@pytest.mark.parametrize("name", [BUILD, *STAGES, DEVICE])
def test_what_pyproject_asks_for_is_there(name: str) -> None:
    pins = dict(list_pins(read(name)))
    missing = [
        str(entry)
        for entry in requirements(name)
        if normal(entry.name) not in pins or pins[normal(entry.name)] not in entry.specifier
    ]
    assert missing == [], AGAIN


@pytest.mark.parametrize("name", [BUILD, *STAGES])
def test_what_those_ask_for_is_there_too(name: str) -> None:
    """Nothing but the lock is installed: a package that another needs must be in it. Seen by what is installed here."""
    pins = dict(list_pins(read(name)))
    waiting = [(entry, "edgepipe") for entry in requirements(name)]
    seen: set[tuple[str, frozenset[str]]] = set()
    missing = []
    while waiting:
        entry, parent = waiting.pop()
        package = normal(entry.name)
        if (package, frozenset(entry.extras)) in seen or LEFT_OUT.fullmatch(package):
            continue
        seen.add((package, frozenset(entry.extras)))
        if package not in pins:
            missing.append(f"{entry}, which {parent} needs")
            continue
        try:
            needs = distribution(package).requires or []
        except PackageNotFoundError:  # of another stage than those that the tests need
            continue
        extras = ("", *entry.extras)
        waiting += [
            (need, package)
            for need in map(Requirement, needs)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    assert missing == [], AGAIN
    assert len(seen) > 1 or name == BUILD


def test_a_device_installs_what_edgepipe_asks_for_and_nothing_else() -> None:
    """The same files as the runtime's lock has of them: what is tested with the one holds for the other."""
    entries = {name: set(re.split(r"^(?=[^\s#])", read(name), flags=re.MULTILINE)[1:]) for name in (DEVICE, "runtime")}
    assert entries[DEVICE] <= entries["runtime"], AGAIN
    assert {name for name, _ in list_pins(read(DEVICE))} == {normal(entry.name) for entry in asked("cpu")}


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    bounds = {(normal(name), Version(version)) for name, _, version in (pin.partition("==") for pin in list_oldest())}
    assert {(name, Version(version)) for name, version in list_pins(read(OLDEST))} == bounds, AGAIN


def test_torch_and_what_cuda_needs_are_left_out() -> None:
    kept = "# why\na==1 \\\n    --hash=sha256:0\n"
    torch = "torch==2 \\\n    --hash=sha256:1\nnvidia-x==3 ; a == 'b' \\\n    --hash=sha256:2\n"
    assert keep(f"{kept}{torch}z==4\n") == f"{kept}z==4\n"


def test_an_unknown_lock_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert lock(["everything"]) == 1
    assert capsys.readouterr().err.startswith("no such lock: everything; there are build, runtime, ")


def test_without_uv_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(SystemExit, match="make lock, which installs it"):
        lock(["build"])
