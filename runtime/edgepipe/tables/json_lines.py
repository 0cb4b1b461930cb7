"""JSON values, one a line (https://jsonlines.org): the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from edgepipe.errors import InputError


def read_json_lines(lines: Iterable[str], origin: str) -> Iterator[tuple[int, str, Any]]:
    """The number, the text and the value of each line that is not blank; a text alone counts as a column ``text``.

    Args:
        lines: Lines of the file, with or without their ends.
        origin: What the file is called in messages.

    Raises:
        InputError: a line is not JSON.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        value = parse_json_line(line, f"{origin}, line {number},")
        yield number, line, {"text": value} if isinstance(value, str) else value


def parse_json_line(line: str | bytes, place: str) -> Any:
    """The value of a line.

    Args:
        line: The line, with or without its end.
        place: Where it is, for messages.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:  # or lists that are too deep
        raise InputError(f"{place} is not JSON: {error}") from error
