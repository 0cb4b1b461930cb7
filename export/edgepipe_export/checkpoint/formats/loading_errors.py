"""What messages about weights and their files have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgepipe.bundle.containment import find_stranger
from edgepipe.bundle.integrity import parse_json, read_bounded
from edgepipe.errors import CheckpointError, first_line


def describe_error(error: Exception) -> str:
    """The name of another library's error, and the first line of what it says."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def list_some(names: Iterable[str]) -> str:
    """The first three of some names."""
    listed = list(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")


def require_own_files(directory: Path) -> None:
    """Refuse links out of a checkpoint: what they name would be read, and written into the bundle.

    Raises:
        CheckpointError: there is one, or a pipe or device.
    """
    found = find_stranger(directory)
    if found is not None:
        raise CheckpointError(found)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or is no JSON object.
    """
    try:
        content = parse_json(read_bounded(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not an object")
    return content
