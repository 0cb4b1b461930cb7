"""Which columns of a table hold a task's inputs: those that were named, or the one whose name says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgepipe.arguments import did_you_mean
from edgepipe.errors import InputError

# What a task reads of a row, where that is not one text.
_ROLES: Mapping[str, tuple[str, ...]] = {
    "question-answering": ("question", "context"),
    "sentence-similarity": ("source_sentence", "sentences"),
    "text-classification": ("text", "text_pair"),
}
_OPTIONAL = ("text_pair",)

# What a column of texts is usually called; names are compared in lower case.
_TEXT_NAMES = ("text", "sentence", "content", "sequence")


def roles_of(task: str) -> tuple[str, ...]:
    """What a task reads of a row: ``("text",)`` for most."""
    return _ROLES.get(task, ("text",))


def choose_columns(task: str, columns: Sequence[str], named: Sequence[str], origin: str) -> dict[str, str]:
    """The column of each role.

    Args:
        task: The task's name.
        columns: Those of the table.
        named: What was asked for: ``NAME``, in the order of the roles, or ``ROLE=NAME``.
        origin: What the table is called in messages.

    Raises:
        InputError: there is no such column, or it cannot be told which column has the texts.
    """
    roles = roles_of(task)
    chosen = _read_names(roles, columns, named, origin) if named else _guess(roles, columns)
    missing = [role for role in roles if role not in chosen and role not in _OPTIONAL]
    if missing:
        wanted = " ".join(f"--column {role}=NAME" if len(roles) > 1 else "--column NAME" for role in missing)
        raise InputError(
            f"{origin} has the columns {', '.join(columns) or 'none'}; say which holds the "
            f"{' and the '.join(missing)}: {wanted}"
        )
    return chosen


def _read_names(roles: Sequence[str], columns: Sequence[str], named: Sequence[str], origin: str) -> dict[str, str]:
    chosen: dict[str, str] = {}
    bare: list[str] = []
    for name in named:
        role, equals, column = name.partition("=")
        if name in columns or not (equals and role in roles):
            bare.append(name)
        else:
            chosen[role] = column
    free = [role for role in roles if role not in chosen]
    if len(bare) > len(free):
        raise InputError(f"the task reads {' and '.join(roles)}, and --column names {len(named)} columns: {named!r}")
    chosen |= dict(zip(free, bare, strict=False))
    for column in chosen.values():
        if column not in columns:
            raise InputError(
                f"{origin} has no column {column!r}, it has {', '.join(columns) or 'none'}"
                f"{did_you_mean(column, columns)}"
            )
    return chosen


def _guess(roles: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """The columns whose names say what they hold; of a text's usual names one alone may be there."""
    if roles[0] != "text":
        return {role: role for role in roles if role in columns}
    found = [column for column in columns if column.strip().lower() in _TEXT_NAMES]
    # A table with a second text is one of pairs: whether both are wanted has to be said.
    return {"text": found[0]} if len(found) == 1 and "text_pair" not in columns else {}


def read_input(chosen: Mapping[str, str], cells: Mapping[str, Any], place: str) -> Any:
    """A task's input from a row: a text, or a dict of its roles; None where a text is missing or blank.

    Args:
        chosen: The column of each role.
        cells: The row.
        place: Where it is, for messages.

    Raises:
        InputError: a cell holds a number or truth value.
    """
    values = {}
    for role, column in chosen.items():
        value = cells.get(column)
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str) and not value.strip():
            return None
        if not isinstance(value, (str, list, dict)):
            raise InputError(f"{place}: the column {column} has {value!r:.60}, expected a text")
        # Two columns of texts are compared row by row.
        values[role] = [value] if role == "sentences" and isinstance(value, str) else value
    return values["text"] if set(values) == {"text"} else values
