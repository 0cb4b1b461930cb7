"""A task over the rows of tables: each row leaves with the result beside its columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from edgepipe.pipelines.base import Task
from edgepipe.tables.input_rows import InputRow

# The column of a result that is no dict: a list of entities or of labels, with what belongs to each.
OUTPUT = "output"

# Goes before the name of a result that is a column of the table already.
PREFIX = "predicted_"


def map_rows(
    task: Task,
    rows: Iterable[InputRow],
    write: Callable[[Mapping[str, Any]], None],
    columns: Collection[str],
    count: Callable[[Iterable[Any]], Iterator[Any]] = iter,
) -> int:
    """Run a task over rows and write each with its result, in their order.

    Args:
        task: The pipeline.
        rows: The rows. Those without an input are written without a result.
        write: Takes a row; results have the same columns in all of them.
        columns: All columns of the rows: a result has another name than these.
        count: Passes results on and counts them.

    Returns:
        How many rows have no result.
    """
    waiting: deque[InputRow] = deque()
    names: dict[str, str] = {}  # of results, by their keys
    empty = 0

    def read() -> Iterator[Any]:
        for row in rows:
            waiting.append(row)
            if row.value is not None:
                yield row.value

    def write_empty() -> None:
        nonlocal empty
        while waiting and waiting[0].value is None:
            write({**waiting.popleft().cells, **dict.fromkeys(names.values())})
            empty += 1

    for result in count(task(read())):
        found = spread_result(task, result)
        if not names:  # rows without a result wait for the first one, which says what columns there are
            names = {key: free_name(key, columns) for key in found}
        write_empty()
        write({**waiting.popleft().cells, **{names[key]: value for key, value in found.items()}})
    write_empty()
    return empty


def spread_result(task: Task, result: Any) -> Mapping[str, Any]:
    """A result as cells: the entries of a dict, e.g. ``label`` and ``score``; of anything else one, :data:`OUTPUT`.

    All results of a task with the same options have the same keys.
    """
    if task.generates and isinstance(result, list) and len(result) == 1:
        [result] = result  # the one text that was asked for
    if isinstance(result, Mapping) and "top_k" not in task.options:
        return {key: value for key, value in result.items() if key != "sequence"}  # zero-shot repeats its input there
    return {OUTPUT: result}


def free_name(name: str, taken: Collection[str]) -> str:
    """A name for a result's column that no other column has."""
    while name in taken:
        name = PREFIX + name
    return name
