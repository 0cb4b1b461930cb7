"""The verdicts on variants, kept in the user's cache: so that a variant is checked once on each kind of machine.

A verdict is a small file of JSON, named for what decides it: the bundle, the variant, the processor's instructions, the
engine and its version, the providers, and how many threads there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgepipe.backend.disk_cache import cache_folder, make_private_folder, mark_used, prune_records
from edgepipe.bundle.integrity import read_bounded, sha256_of_bytes

# The most bytes that all verdicts have together, and one alone.
_LIMIT, _LONGEST = 500_000, 10_000

# What this process knows, whether it can be kept or not.
_known: dict[str, str | None] = {}


def name_verdict(circumstances: Mapping[str, Any]) -> str:
    """The name of the verdict on a variant, from all that decides it, as JSON can hold it."""
    return sha256_of_bytes(json.dumps(circumstances, sort_keys=True, default=str).encode())


def find_verdict(name: str) -> tuple[bool, str | None]:
    """Whether there is a verdict, and the cause of a failure; None for a variant that passed."""
    if name in _known:
        return True, _known[name]
    path = _path(name)
    if path is None:
        return False, None
    try:
        record = json.loads(read_bounded(path, _LONGEST))
        cause = record["cause"]
    except (OSError, ValueError, KeyError, TypeError):  # none, or one that was damaged
        return False, None
    if not isinstance(cause, (str, type(None))):
        return False, None
    _known[name] = cause
    mark_used(path)
    return True, cause


def keep_verdict(name: str, cause: str | None) -> str | None:
    """Keep a verdict.

    Args:
        name: Its name.
        cause: The cause of a failure; None for a variant that passed.

    Returns:
        Why it is kept in this process alone; None where it is on the disk, or nothing is to be kept there.
    """
    _known[name] = cause
    path = _path(name)
    if path is None:
        return None
    try:
        make_private_folder(path.parent)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"cause": cause}), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        return f"{path.parent}: {error.strerror}"
    with suppress(OSError):
        prune_records(path.parent.glob("*.json"), _LIMIT)
    return None


def _path(name: str) -> Path | None:
    root = cache_folder()
    return None if root is None else root / "verdicts" / f"{name[:40]}.json"
