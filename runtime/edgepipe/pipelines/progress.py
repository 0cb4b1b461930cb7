"""A progress bar, for who asks for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgepipe.errors import DependencyError


def shown(results: Iterable[Any], total: int | None) -> Iterator[Any]:
    """The same results, counted on standard error.

    Args:
        results: What to count.
        total: How many there will be; None where nobody knows.

    Raises:
        DependencyError: tqdm is not installed.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise DependencyError("progress=True needs tqdm; pip install tqdm, or leave progress out") from error
    return iter(tqdm(results, total=total, unit=" inputs"))
