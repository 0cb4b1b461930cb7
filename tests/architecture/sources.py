"""The source files of the product and what they import, read without importing them."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOTS = {
    "edgepipe": REPOSITORY / "runtime",
    "edgepipe_export": REPOSITORY / "export",
    "edgepipe_models": REPOSITORY / "models",
}


@dataclass(frozen=True)
class Import:
    """One import.

    Attributes:
        file: Relative to the repository.
        line: Its line.
        module: The full name of what is imported.
        lazy: Whether it stands in a function, and so happens only when that is called.
    """

    file: str
    line: int
    module: str
    lazy: bool

    @property
    def package(self) -> str:
        """The top-level package."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def files(*packages: str) -> list[Path]:
    """The Python files of the import packages named."""
    return sorted(path for package in packages for path in (ROOTS[package] / package).rglob("*.py"))


@cache
def imports(package: str) -> tuple[Import, ...]:
    """Every import in an import package that happens at run time (not those for type checkers alone)."""
    found = []
    for path in files(package):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            Import(path.relative_to(REPOSITORY).as_posix(), line, module, lazy)
            for module, line, lazy in _imports_of(tree, lazy=False)
        ]
    return tuple(found)


def _imports_of(node: ast.AST, *, lazy: bool) -> Iterator[tuple[str, int, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _imports_of(other, lazy=lazy)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child.lineno, lazy
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute"
            yield child.module or "", child.lineno, lazy
        elif isinstance(child, ast.Call) and _is_import_call(child):
            yield ast.literal_eval(child.args[0]), child.lineno, lazy
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports_of(child, lazy=lazy or inside)


def _is_import_call(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    literal = call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    return name in ("import_module", "__import__") and bool(literal)


@dataclass(frozen=True)
class Module:
    """One module of a package.

    Attributes:
        path: Its file.
        tree: Its syntax.
        imports: The modules of the same package that it imports, in functions and for type checkers too.
        foreign: What else it imports.
    """

    path: Path
    tree: ast.Module
    imports: frozenset[str]
    foreign: frozenset[str]


@cache
def modules(package: str, root: Path | None = None) -> dict[str, Module]:
    """Every module of a package by its full name.

    Args:
        package: The import package.
        root: The folder that holds it; by default where ours lies.
    """
    root = root or ROOTS[package]
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((root / package).rglob("*.py"))
    }
    found = {}
    for name, path in paths.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        targets = set(_targets(tree, paths)) - {name}
        own = frozenset(target for target in targets if target in paths)
        found[name] = Module(path, tree, own, frozenset(targets - own))
    return found


def _targets(tree: ast.Module, paths: Collection[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in paths else str(node.module)
        elif isinstance(node, ast.Call) and _is_import_call(node):
            yield ast.literal_eval(node.args[0])


def sources() -> list[Path]:
    """Every Python file of the repository's own folders."""
    folders = [REPOSITORY / name for name in ("runtime", "export", "models", "tests", "benchmarks", "examples")]
    found = [path for folder in folders for path in folder.rglob("*.py")]
    # An environment that someone made in a folder (.venv, node_modules) holds other people's files.
    return [path for path in found if not any(part.startswith(".") or part == "node_modules" for part in path.parts)]
