"""``map_dataset()``: a bundle over files or tables, as a stream of batches or into files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from edgepipe.errors import InputError
from edgepipe.mapping.batch_mapper import BatchMapper, choose_embedding, split_options
from edgepipe.mapping.execution import find_batch_size
from edgepipe.mapping.part_worker import load_task
from edgepipe.mapping.row_runner import RunOptions
from edgepipe.mapping.run_job import MapReport, Show, run_job, split_session
from edgepipe.mapping.sources.tables_of_data import open_tables
from edgepipe.pipelines.base import Task
from edgepipe.tables.column_roles import choose_columns


def map_dataset(
    bundle: str | os.PathLike[str] | Task,
    data: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    column: str | Sequence[str] = (),
    batch_size: int | None = None,
    fail_fast: bool = False,
    show: Show | None = None,
    **options: Any,
) -> Any:
    """Run a bundle over a dataset: its columns are kept, and those of the results are added.

    ::

        reader = edgepipe.map_dataset("path/to/bundle", table, column="review")
        reader.read_all()  # a pyarrow.Table; or polars.from_arrow(reader), or batch by batch

        edgepipe.map_dataset("path/to/bundle", "texts/*.parquet", "out/")  # goes on where it was, if it ended before

    A row's results are those that the pipeline gives for it alone. A row that cannot be used has a message in the
    column ``error``; one without a text has no result.

    Args:
        bundle: A directory or Hub id; or, without `output`, a pipeline that is loaded.
        data: Files (a path, a folder, a glob, an address that fsspec knows, or a list of those) that end in
            ``.parquet``, ``.jsonl``, ``.csv`` or ``.tsv``; or, without `output`, a table of pyarrow, pandas, polars or
            datasets, or an iterable of record batches.
        output: A folder, which gets a file for each part, or a file that ends in ``.parquet``, ``.jsonl`` or ``.csv``.
        column: The column with the texts; for tasks that read several ``"question=Q"`` and ``"context=C"``.
        batch_size: How many texts go through the model at once; by default so many as change no result.
        fail_fast: Whether a row that cannot be used is an error.
        show: With `output`, is told how far it is: with a text, rows that are done, and all rows.
        **options: Of :func:`edgepipe.pipeline` (``task``, ``dtype``, ``device``, ``num_threads``, ``workers`` ...), of
            the task and, for a bundle without a head, of ``embed``. With `output` those of
            :func:`~edgepipe.mapping.run_job.run_job` too: ``format``, ``part_rows``, ``processes``, ``overwrite``.

    Returns:
        Without `output` a ``pyarrow.RecordBatchReader``, which computes as it is read. With it a
        :class:`~edgepipe.mapping.run_job.MapReport`.

    Raises:
        DependencyError: pyarrow, or a package for an address, is missing.
        EdgepipeError: what :func:`edgepipe.pipeline` raises.
        InputError: a column is not there, files cannot be read, or the output cannot be written or has another job's
            results.
    """
    columns = (column,) if isinstance(column, str) else tuple(column)
    if output is not None:
        if isinstance(bundle, Task):
            raise InputError("with an output name the bundle by its path: other processes load it too")
        return run_job(
            os.fspath(bundle),
            data,
            os.fspath(output),
            columns=columns,
            batch_size=batch_size,
            fail_fast=fail_fast,
            show=show,
            **options,
        )
    session, options = split_session(options)
    task, vectors = _take_task(bundle, session, options)
    schema, tables, name = open_tables(data)
    chosen = choose_columns(task.name, schema.names, columns, name)
    embedding = choose_embedding(task, vectors)
    size = find_batch_size(task, embedding) if batch_size is None else batch_size
    how = RunOptions(size, fail_fast, lambda first, row: f"{name}, row {first + row + 1}")
    mapper = BatchMapper(task, schema, chosen, how, embedding)
    batches = _run(mapper, tables, None if bundle is task else task)
    return pa.RecordBatchReader.from_batches(mapper.schema, batches)


def _take_task(bundle: Any, session: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Task, Mapping[str, Any]]:
    """A pipeline, and the options of vectors."""
    own, vectors = split_options(options)
    if not isinstance(bundle, Task):
        return load_task(bundle, options, session), vectors
    if session or own:
        raise InputError(f"the pipeline is loaded already: give it {', '.join([*session, *own])} when you load it")
    return bundle, vectors


def _run(mapper: BatchMapper, tables: Iterator[pa.Table], owned: Task | None) -> Iterator[pa.RecordBatch]:
    def number() -> Iterator[tuple[int, pa.Table]]:
        first = 0
        for table in tables:
            yield first, table
            first += table.num_rows

    try:
        for mapped in mapper.run(number()):
            yield from mapped.table.to_batches()
    finally:
        if owned is not None:
            owned.close()


__all__ = ["MapReport", "map_dataset"]
