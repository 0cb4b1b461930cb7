"""The house: which room may import which, no circles, no crowded rooms, no name twice."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.architecture.rooms import EXPORTER, FOUNDATION, RUNTIME, may_import
from tests.architecture.sources import REPOSITORY, ROOTS, Module, modules, sources

MOST_ENTRIES = 13
MOST_LINES = 600
# One file a task, and every task in it; one file a command; and the rooms, which docs/architecture.md draws.
CROWDED = {"edgepipe/pipelines", "edgepipe/cli/commands", "edgepipe"}
TABLES = {"edgepipe": RUNTIME, "edgepipe_export": EXPORTER}
ENGINES = ("onnxruntime", "openvino")

by_package = pytest.mark.parametrize("package", TABLES)


def listed(found: Iterable[object], what_to_do: str) -> str:
    return "\n".join([*map(str, found), what_to_do])


def room_of(module: str) -> str:
    """``edgepipe.bundle.hub`` is in the room ``bundle``; the package itself is in none."""
    return module.split(".")[1] if "." in module else ""


@by_package
def test_every_module_is_in_a_room_of_the_table(package: str) -> None:
    found = {room_of(name) for name in modules(package)} - {"", "__main__"}
    assert found == set(TABLES[package]), (
        "A room is one line in tests/architecture/rooms.py and one in docs/architecture.md."
    )


@by_package
def test_rooms_import_only_what_the_table_allows(package: str) -> None:
    wrong = [
        f"{name} imports {target}"
        for name, module in modules(package).items()
        for target in sorted(module.imports)
        if room_of(name) in TABLES[package] and not may_import(TABLES[package], room_of(name), target)
    ]
    assert not wrong, listed(
        wrong,
        "Rule: arrows between rooms point one way (tests/architecture/rooms.py). Move what is shared into a room that "
        "both may import, or pass it as an argument.",
    )


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_table_itself_has_no_circle(table: Mapping[str, str]) -> None:
    done: set[str] = set()
    waiting = {room: {name.split(".")[0] for name in allowed.split()} for room, allowed in table.items()}
    while ready := {room for room, others in waiting.items() if others <= done} - done:
        done |= ready
    assert done == set(table), f"These rooms allow each other: {sorted(set(table) - done)}"


@by_package
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    """Imports in functions and under ``TYPE_CHECKING`` count."""
    imports = {name: set(module.imports) for name, module in modules(package).items()}
    left = set(imports)
    # What imports nothing that is left is in no circle, nor is what nothing that is left imports.
    while free := {
        name for name in left if not imports[name] & left or not any(name in imports[other] for other in left - {name})
    }:
        left -= free
    assert not left, listed(
        sorted(left), "Rule: no circle of imports. These are in one or between two: move what both need into a third."
    )


@by_package
def test_no_two_modules_have_one_name(package: str) -> None:
    # A command's file is called as users type it, whatever room does the work.
    found = [name for name in modules(package) if not name.startswith("edgepipe.cli.commands.")]
    names = Counter(name.rpartition(".")[2] for name in found)
    twice = [name for name, count in names.items() if count > 1]
    assert not twice, listed(twice, "Rule: a module's name is unique in its package, so that a search finds one file.")


@by_package
def test_no_two_classes_have_one_name(package: str) -> None:
    where = defaultdict(list)
    for name, module in modules(package).items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(name)
    twice = [f"{name}: {', '.join(homes)}" for name, homes in where.items() if len(homes) > 1]
    assert not twice, listed(twice, "Rule: a class has a name that no other class of the package has: say whose it is.")


@by_package
def test_no_room_is_crowded(package: str) -> None:
    root = ROOTS[package]
    entries = Counter(
        module.path.parent for module in modules(package).values() if not module.path.stem.startswith("__")
    )
    entries.update(module.path.parent.parent for module in modules(package).values() if module.path.stem == "__init__")
    full = [
        f"{folder.relative_to(root)}: {count} entries"
        for folder, count in entries.items()
        if count > MOST_ENTRIES and folder.relative_to(root).as_posix() not in CROWDED
    ]
    assert not full, listed(
        full, f"Rule: at most {MOST_ENTRIES} entries a folder. Make a folder of those that belong together."
    )


def test_no_file_is_too_long() -> None:
    long = [
        f"{path.relative_to(REPOSITORY)}: {lines} lines"
        for path in sources()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    ]
    assert not long, listed(long, f"Rule: at most {MOST_LINES} lines a file. Give its second idea a file of its own.")


def test_every_module_is_named_for_what_it_holds() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common", "tools", "stuff"}
    found = [path for path in sources() if path.stem in vague or path.parent.name in vague]
    assert not found, listed(found, "Rule: a module is called by what is in it.")


def test_only_the_backend_knows_an_engine() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, module in modules("edgepipe").items()
        for target in sorted(module.imports | module.foreign)
        if (target.split(".")[0] in ENGINES and not name.startswith("edgepipe.backend."))
        or (any(target.startswith(f"edgepipe.backend.{engine}") for engine in ENGINES) and room_of(name) != "backend")
    ]
    assert not wrong, listed(wrong, "Rule: other rooms use edgepipe.backend's protocol, never an engine or its folder.")


@by_package
def test_every_folder_says_what_it_holds(package: str) -> None:
    silent = [name for name, module in modules(package).items() if not ast.get_docstring(module.tree)]
    assert not silent, listed(silent, "Rule: a module begins with a docstring of one sentence.")


def test_the_foundation_imports_no_room() -> None:
    for room in FOUNDATION.split():
        assert set(RUNTIME[room].split()) <= set(FOUNDATION.split())


def test_the_rules_see_imports_wherever_they_stand(tmp_path: Path) -> None:
    """In functions, under ``TYPE_CHECKING``, and as ``from package import module``."""
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "__init__.py").write_text('"""A box."""')
    (tmp_path / "box" / "lid.py").write_text("import os\n")
    (tmp_path / "box" / "latch.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from box.lid import Lid\n"
        "def close() -> None:\n    from box import hinge\n"
    )
    (tmp_path / "box" / "hinge.py").write_text("from importlib import import_module\nimport_module('box.lid')\n")
    found: dict[str, Module] = dict(modules.__wrapped__("box", tmp_path))
    assert found["box.latch"].imports == {"box.lid", "box.hinge"}
    assert found["box.hinge"].imports == {"box.lid"}
    assert "os" in found["box.lid"].foreign
