"""The hierarchy of errors, and what one says in a line."""

from __future__ import annotations

import inspect

import pytest

from edgepipe import errors
from edgepipe.errors import BundleError, EdgepipeError, Terminated, convert_panics, escape_controls, first_line

ALL = {
    name: item for name, item in vars(errors).items() if inspect.isclass(item) and item.__module__ == errors.__name__
}


def test_one_name_catches_all_that_is_raised_on_purpose() -> None:
    assert {name for name, item in ALL.items() if not issubclass(item, EdgepipeError)} == {"Terminated"}
    assert not issubclass(Terminated, Exception), "nobody who catches errors may keep a process from ending"


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InputError", ValueError),
        ("TaskError", ValueError),
        ("VariantError", ValueError),
        ("OutOfMemoryError", MemoryError),
        ("DependencyError", ImportError),
    ],
)
def test_who_knows_only_pythons_errors_catches_ours(name: str, builtin: type[Exception]) -> None:
    assert issubclass(ALL[name], builtin)


def test_the_drawing_has_every_error_under_its_parent() -> None:
    assert errors.__doc__ is not None
    lines = [line for line in errors.__doc__.splitlines() if "Error" in line]
    path: list[str] = []
    drawn = {}
    for line in lines:
        name = line.lstrip(" │├└─").split()[0]
        depth = (len(line) - len(line.lstrip(" │├└─"))) // 4 - 1
        path = [*path[:depth], name]
        drawn[name] = path[-2] if depth else None
    expected = {name: item.__bases__[0].__name__ for name, item in ALL.items() if name != "Terminated"}
    assert drawn == expected | {"EdgepipeError": None}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("one\ntwo"), "one"),
        (RuntimeError("\n  one\r\ntwo"), "one"),
        (RuntimeError(), "RuntimeError"),
        (ValueError(" \n"), "ValueError"),
        (KeyError("name"), "'name'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_error_says_something_in_one_line(error: BaseException, expected: str) -> None:
    assert first_line(error) == expected


class PanicException(BaseException):
    """As pyo3's, which has no module to import it from."""


def test_a_panic_of_rust_is_an_error_of_ours() -> None:
    said = r"the tokenizer has the library that reads it fail \(index out of bounds\)"
    with pytest.raises(BundleError, match=said), convert_panics("the tokenizer"):
        raise PanicException("index out of bounds")
    for other in (KeyboardInterrupt, Terminated, RuntimeError):
        with pytest.raises(other), convert_panics("the tokenizer"):
            raise other


def test_a_message_is_nothing_that_a_terminal_obeys() -> None:
    said = str(BundleError("file\x1b[2J\x9b1m\u202egnp.exe\r is damaged\nthe next line\t…"))
    assert said == "file\\x1b[2J\\x9b1m\\u202egnp.exe\\r is damaged\nthe next line\t…"
    assert str(BundleError("half a character: \ud83d")) == "half a character: \\ud83d"
    assert escape_controls("ünï 日本 👩‍👩‍👧 \u200f\u05e2") == "ünï 日本 👩‍👩‍👧 \u200f\u05e2"
