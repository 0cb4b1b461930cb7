"""Which files of ours a command enters, in order: ``python -m tests.documentation.walk run "I love this"``."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("edgepipe", "edgepipe_export")
RECORD = "_record_entry"


class RecordingLoader(SourceFileLoader):
    """Loads a module whose functions say that they are entered, before they do anything else."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the source as it is now; no cached bytecode is read or written."""
        tree = ast.parse(self.get_data(self.path), self.path)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                call = ast.parse(f"{RECORD}({self.path!r})").body
                node.body[:0] = [ast.copy_location(statement, node.body[0]) for statement in call]
        code: CodeType = compile(ast.fix_missing_locations(tree), self.path, "exec")
        return code


class RecordingFinder:
    """Finds our packages for :class:`RecordingLoader`."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As any finder's."""
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            spec.loader = RecordingLoader(fullname, spec.origin)
        return spec


def walk(arguments: Sequence[str]) -> list[str]:
    """The files whose functions are entered by ``edgepipe ARGUMENTS``, each where it is entered first.

    What is entered while modules are imported does not count. Call it in a process that has not imported edgepipe.
    """
    entered: dict[str, None] = {}
    setattr(builtins, RECORD, entered.setdefault)
    sys.meta_path.insert(0, RecordingFinder)
    from edgepipe.cli.main import main

    entered.clear()
    sys.argv = ["edgepipe", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    return [Path(path).relative_to(REPOSITORY).as_posix() for path in entered]


if __name__ == "__main__":
    print(*walk(sys.argv[1:]), sep="\n", file=sys.stderr)
