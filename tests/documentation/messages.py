"""The messages that the product can give, read from its source: errors, warnings, and notes of an export.

``python -m tests.documentation.messages`` lists them, with :data:`HOLE` for what is known only when it happens.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("runtime/edgepipe", "export/edgepipe_export", "models/edgepipe_models")

# Stands for what a message says of the case at hand.
HOLE = "…"

# A message of several parts that have alternatives is read in so many ways at most.
MOST = 64


@dataclass(frozen=True)
class Message:
    """A message as the source writes it.

    Attributes:
        path: The file.
        line: Where it is given.
        kind: The class of the error, or ``warning``, or ``note``.
        text: The message, with :data:`HOLE` for what varies.
    """

    path: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.kind}: {self.text}"

    @property
    def is_known(self) -> bool:
        """Whether the source says anything of it where it is given."""
        return _says_something(self.text)


@cache
def collect_messages() -> tuple[Message, ...]:
    """Every message, in the order of the files."""
    source = _Source()
    found: set[Message] = set()
    for call in source.calls:
        for kind, argument in _messages_of(call.node):
            texts = _Reader(source, call.scope).read(argument)
            known = set(filter(_says_something, texts))
            found |= {Message(call.path, call.node.lineno, kind, text) for text in known or texts}
    return tuple(sorted(found, key=lambda message: (message.path, message.line, message.text)))


@dataclass(frozen=True)
class _Call:
    """A call in the source.

    Attributes:
        path: The file.
        scope: The function that it is in; the module where it is in none.
        node: The call.
    """

    path: str
    scope: ast.AST
    node: ast.Call


class _Source:
    """The source of the product: its functions and calls, by name."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.functions: dict[str, list[ast.FunctionDef]] = {}
        self.calls_of: dict[str, list[_Call]] = {}
        for root in ROOTS:
            for path in sorted((REPOSITORY / root).rglob("*.py")):
                module = ast.parse(path.read_text(encoding="utf-8"))
                self._visit(module, module, path.relative_to(REPOSITORY).as_posix())

    def _visit(self, node: ast.AST, scope: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                call = _Call(path, scope, child)
                self.calls.append(call)
                self.calls_of.setdefault(_last_name(child.func), []).append(call)
            if isinstance(child, ast.FunctionDef):
                self.functions.setdefault(child.name, []).append(child)
            self._visit(child, child if isinstance(child, ast.FunctionDef) else scope, path)


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _messages_of(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The message of a call that makes an error, warns, or notes; none of any other call."""
    name = _last_name(node.func)
    texts = [argument for argument in node.args if not _is_number(argument)]
    if name.endswith("Error") and texts:
        yield name, texts[-1]
    elif name == "warn" and texts:
        yield "warning", texts[0]
    elif name == "note" and len(texts) == 2:
        yield "note", texts[1]


def _is_number(node: ast.expr) -> bool:
    """Whether an argument is an error's number, as `OSError` takes it."""
    return ast.unparse(node).startswith("errno.")


class _Reader:
    """Reads texts that the source puts together: in place, in a variable, or in a function of its own."""

    def __init__(self, source: _Source, scope: ast.AST, followed: frozenset[str] = frozenset()) -> None:
        self._source = source
        self._scope = scope
        self._followed = followed

    def read(self, node: ast.expr) -> set[str]:
        """What a message can be. Calls and arguments in it are followed only where it says nothing else."""
        texts = self._put_together(node, follow=False)
        return texts if any(map(_says_something, texts)) else self._put_together(node, follow=True)

    def _put_together(self, node: ast.expr, *, follow: bool) -> set[str]:
        if isinstance(node, ast.Constant):
            return {node.value if isinstance(node.value, str) else HOLE}
        if isinstance(node, ast.JoinedStr):
            return _join([self._put_together(part, follow=follow) for part in node.values])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return _join([self._put_together(part, follow=follow) for part in (node.left, node.right)])
        if isinstance(node, ast.IfExp):
            return self.read(node.body) | self.read(node.orelse)
        if isinstance(node, ast.BoolOp):
            return {text for part in node.values for text in self.read(part)}
        if isinstance(node, ast.FormattedValue):
            return self._put_together(node.value, follow=follow)
        return set(filter(_says_something, self._follow(node, far=follow))) or {HOLE}

    def _follow(self, node: ast.expr, *, far: bool) -> Iterator[str]:
        """What a variable was given, or what functions and properties of a name return; these are `far`."""
        name = _last_name(node.func if isinstance(node, ast.Call) else node)
        if name in self._followed or not (far or isinstance(node, ast.Name)):
            return
        followed = self._followed | {name}
        if isinstance(node, ast.Name):
            for scope, value in (*self._assigned(name), *(self._passed(name) if far else ())):
                yield from _Reader(self._source, scope, followed).read(value)
            return
        for function in self._source.functions.get(name, ()):
            for other in ast.walk(function):
                if isinstance(other, ast.Return) and other.value is not None:
                    yield from _Reader(self._source, function, followed).read(other.value)

    def _assigned(self, name: str) -> Iterator[tuple[ast.AST, ast.expr]]:
        """What a variable of the function is given: by assignment, or by a loop over rows that are written out."""
        for node in ast.walk(self._scope):
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
                yield self._scope, node.value
            elif isinstance(node, ast.For) and isinstance(node.target, ast.Tuple) and isinstance(node.iter, ast.Tuple):
                places = [place for place, each in enumerate(node.target.elts) if ast.unparse(each) == name]
                rows = [row for row in node.iter.elts if isinstance(row, ast.Tuple)]
                yield from ((self._scope, row.elts[place]) for row in rows for place in places)

    def _passed(self, name: str) -> Iterator[tuple[ast.AST, ast.expr]]:
        """What calls of the function pass for one of its parameters."""
        if not isinstance(self._scope, ast.FunctionDef):
            return
        parameters = [argument.arg for argument in self._scope.args.args if argument.arg != "self"]
        for call in self._source.calls_of.get(self._scope.name, ()) if name in parameters else ():
            passed = call.node.args[parameters.index(name) : parameters.index(name) + 1]
            yield from ((call.scope, argument) for argument in passed)


def _join(parts: list[set[str]]) -> set[str]:
    ways = itertools.islice(itertools.product(*map(sorted, parts)), MOST)
    return {re.sub(f"{HOLE}+", HOLE, "".join(way)) for way in ways}


def _says_something(text: str) -> bool:
    return any(character.isalpha() for character in text)


if __name__ == "__main__":
    print(*collect_messages(), sep="\n")
