"""The class for a user's own ``map_batches``: it loads a bundle once, and adds the results to each batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from edgepipe.mapping.batch_mapper import BatchMapper, choose_embedding, split_options
from edgepipe.mapping.execution import find_batch_size
from edgepipe.mapping.part_worker import load_task
from edgepipe.mapping.row_runner import RunOptions
from edgepipe.mapping.run_job import split_session
from edgepipe.ray.batch_formats import add_columns, column_names, read_columns
from edgepipe.ray.ray_module import assigned_cpus
from edgepipe.tables.column_roles import choose_columns


class Predictor:
    """A bundle as Ray Data's batch inference has it: a class that is made once by each actor, and called with batches.

    ::

        dataset.map_batches(
            Predictor,
            fn_constructor_kwargs={"bundle": "path/to/bundle", "column": "review"},
            batch_format="pyarrow",  # or "numpy", "pandas"
            batch_size=512,
            concurrency=(1, 8),
            num_cpus=1,
        )

    Columns and rows are those of :func:`edgepipe.map_dataset`: a batch keeps its columns, and gets those of the
    results, and ``error``.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        column: str | Sequence[str] = (),
        batch_size: int | None = None,
        fail_fast: bool = False,
        **options: Any,
    ) -> None:
        """Load the bundle.

        Args:
            bundle: A directory that every node has, or a Hub id.
            column: The column with the texts; for tasks that read several ``"question=Q"`` and ``"context=C"``.
            batch_size: How many texts go through the model at once; by default so many as change no result.
            fail_fast: Whether a row that cannot be used is an error.
            **options: Of :func:`edgepipe.pipeline` and of the task. In an actor ``num_threads`` is by default the
                number of processors that Ray has given to it.

        Raises:
            EdgepipeError: what :func:`edgepipe.pipeline` raises.
        """
        session, own = split_session(options)
        if "num_threads" not in session and "workers" not in session and (cpus := assigned_cpus()) is not None:
            session["num_threads"] = cpus
        self.task = load_task(bundle, own, session)
        self._embedding = choose_embedding(self.task, split_options(own)[1])
        self._named = (column,) if isinstance(column, str) else tuple(column)
        size = find_batch_size(self.task, self._embedding) if batch_size is None else batch_size
        self._options = RunOptions(size, fail_fast, lambda key, row: f"row {row + 1} of the batch")
        self._mapper: tuple[pa.Schema, BatchMapper] | None = None

    def __call__(self, batch: Any) -> Any:
        """A batch with results, in the format that it has.

        Args:
            batch: A dict of numpy arrays, a pandas frame or an Arrow table.

        Raises:
            EdgepipeError: the columns are not there, or the task fails for every row.
        """
        columns = choose_columns(self.task.name, column_names(batch), self._named, "the batch")
        table = read_columns(batch, columns.values())
        mapper = self._find_mapper(table.schema, columns)
        (mapped,) = mapper.run([("batch", table)])
        return add_columns(batch, mapped.table, mapper.names)

    def _find_mapper(self, schema: pa.Schema, columns: dict[str, str]) -> BatchMapper:
        """The mapper for a schema; batches of a dataset have the same."""
        if self._mapper is None or not self._mapper[0].equals(schema):
            self._mapper = schema, BatchMapper(self.task, schema, columns, self._options, self._embedding)
        return self._mapper[1]
