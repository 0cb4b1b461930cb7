"""A task over tables of Arrow: their columns are kept, and those of the results are added."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from edgepipe.errors import BundleError, InputError
from edgepipe.mapping.result_columns import ResultColumns
from edgepipe.mapping.row_runner import Outcomes, RunOptions, make_runner
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.feature_extraction import FeatureExtraction
from edgepipe.pipelines.sentence_embedding import Embedding
from edgepipe.tables.column_roles import read_input

Key = TypeVar("Key")

# Options of vectors, which the pipeline itself does not take.
EMBEDDING_OPTIONS = ("prompt", "prompt_name", "normalize_embeddings", "truncate_dim", "pooling")


@dataclass(frozen=True, slots=True)
class MappedTable(Generic[Key]):
    """A table with results.

    Attributes:
        key: What it is called.
        outcomes: What came of its rows.
        inputs: How many rows have an input.
        table: The table: its own columns, then those of the results.
    """

    key: Key
    outcomes: Outcomes[Key]
    inputs: int
    table: pa.Table


class BatchMapper:
    """Runs a task over tables of one schema.

    Attributes:
        schema: Of the tables with results.
        names: The names of the columns that are added.
    """

    def __init__(
        self,
        task: Task,
        schema: pa.Schema,
        columns: Mapping[str, str],
        options: RunOptions,
        embedding: Embedding | None = None,
        *,
        fixed_size: bool = True,
    ) -> None:
        """Find out what the results are.

        Args:
            task: The pipeline, with its options.
            schema: Of the tables.
            columns: The column of each role, as :func:`~edgepipe.tables.column_roles.choose_columns` gives them.
            options: How rows go through.
            embedding: How vectors are made, where they are wanted in place of the task's results.
            fixed_size: Whether vectors are lists of a fixed size.
        """
        self.task = task
        self._columns = columns
        self._results = ResultColumns(task, schema, next(iter(columns.values())), embedding, fixed_size=fixed_size)
        self.names = tuple(self._results.fields)
        self.schema = schema
        for name, kind in self._results.fields.items():
            self.schema = self.schema.append(pa.field(name, kind))
        self._locate = options.locate
        self._runner = make_runner(task, options, embedding)

    def run(self, tables: Iterable[tuple[Key, pa.Table]]) -> Iterator[MappedTable[Key]]:
        """The tables with results, in their order; the next is read while the last one runs.

        Args:
            tables: Each with what it is called.

        Raises:
            EdgepipeError: see :meth:`RowRunner.run`.
        """
        waiting: deque[tuple[pa.Table, int]] = deque()

        def read() -> Iterator[tuple[Key, list[Any]]]:
            for key, table in tables:
                inputs = self._read_inputs(key, table)
                waiting.append((table, len(inputs) - inputs.count(None)))
                yield key, inputs

        for outcomes in self._runner.run(read()):
            table, inputs = waiting.popleft()
            yield MappedTable(outcomes.key, outcomes, inputs, self._add(table, outcomes))

    def _read_inputs(self, key: Any, table: pa.Table) -> list[Any]:
        """The input of each row: None where a text is missing or blank, an `InputError` where a cell is no text."""
        names = dict.fromkeys(self._columns.values())
        cells = zip(*(table.column(name).to_pylist() for name in names), strict=True)
        found: list[Any] = []
        for number, values in enumerate(cells):
            try:
                found.append(
                    read_input(self._columns, dict(zip(names, values, strict=True)), self._locate(key, number))
                )
            except InputError as error:
                found.append(error)
        return found

    def _add(self, table: pa.Table, outcomes: Outcomes[Any]) -> pa.Table:
        errors = [None if error is None else str(error) for error in outcomes.errors]
        arrays = self._results.make_arrays(outcomes.results, errors)
        for name, array in zip(self.names, arrays, strict=True):
            table = table.append_column(name, array)
        return table.cast(self.schema)


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the pipeline, and those of vectors."""
    own = {name: value for name, value in options.items() if name not in EMBEDDING_OPTIONS}
    return own, {name: value for name, value in options.items() if name in EMBEDDING_OPTIONS}


def choose_embedding(task: Task, options: Mapping[str, Any]) -> Embedding | None:
    """How vectors are made of texts: where the bundle says how, or an option does; None where results are wanted.

    Args:
        task: The pipeline.
        options: Those of vectors, as :meth:`EmbeddingTask.make_embedding` takes them.

    Raises:
        InputError: the task makes no vectors, or an option cannot be used.
    """
    if not isinstance(task, FeatureExtraction):
        if options:
            raise InputError(f"{', '.join(options)} is for vectors, and {task.name} makes none; leave it out")
        return None
    if options:
        return task.make_embedding(**options)
    with suppress(InputError, BundleError):
        return task.make_embedding()
    return None
