"""What makes parts: reads their rows, runs the task, writes them. In this process, in others, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from edgepipe.errors import BundleError, InputError, NotFiniteError
from edgepipe.factory import pipeline
from edgepipe.mapping.batch_mapper import BatchMapper, MappedTable, choose_embedding, split_options
from edgepipe.mapping.job import Job, Part, read_job
from edgepipe.mapping.output_folder import OutputFolder
from edgepipe.mapping.part_files import FORMATS, add_metadata
from edgepipe.mapping.row_runner import RunOptions
from edgepipe.pipelines.base import Task

# Parts that are written while the next ones run; so many tables are in memory beside.
_WRITTEN_AHEAD = 2


@dataclass(frozen=True, slots=True)
class PartReport:
    """What came of a part.

    Attributes:
        number: Which part.
        rows: How many rows it has.
        empty: How many of them have no text.
        failed: How many have an error.
        cut: How many were cut at the model's limit.
        tokens: How many tokens went through the model.
        error: The first error of its rows; None where there is none.
    """

    number: int
    rows: int
    empty: int
    failed: int
    cut: int
    tokens: int
    error: str | None = None


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker has to know; it goes to other processes.

    Attributes:
        bundle: The bundle's directory or Hub id.
        folder: The address of the job.
        session: Arguments of :func:`edgepipe.pipeline`, such as ``dtype`` and ``num_threads``.
        fail_fast: Whether a row that cannot be used ends the work.
    """

    bundle: str
    folder: str
    session: Mapping[str, Any] = field(default_factory=dict)
    fail_fast: bool = False


class PartWorker:
    """Makes parts of one job.

    Attributes:
        job: The job.
        task: The pipeline.
    """

    def __init__(self, job: Job, task: Task, *, fail_fast: bool = False) -> None:
        """Take a job and a pipeline for it.

        Raises:
            InputError: the job cannot be done with the pipeline.
        """
        self.job = job
        self.task = task
        task.warns_of_cuts = False  # they are counted
        identity = job.identity
        self._mapper = BatchMapper(
            task,
            job.schema,
            identity.columns,
            RunOptions(identity.batch_size, fail_fast, self._locate),
            choose_embedding(task, split_options(identity.options)[1]),
            fixed_size=False,  # pyarrow before 26 reads no Parquet where a list of a fixed size is null
        )
        self._description = identity.describe()

    def run(
        self, parts: Iterable[Part], tell: Callable[[PartReport], Any] = lambda report: None
    ) -> Iterator[PartReport]:
        """Make parts; the report of each when it is written and the next one runs.

        Args:
            parts: The parts; the next is read while the last one runs.
            tell: Is given each report at once, in another thread.

        Raises:
            EdgepipeError: a file cannot be read or written, or the task fails for every row.
        """
        dataset = self.job.dataset
        tables = ((part, dataset.read(part.file, part.slice)) for part in parts)
        try:
            with ThreadPoolExecutor(1, "edgepipe-read") as reader, ThreadPoolExecutor(1, "edgepipe-write") as writer:
                waiting: list[Future[PartReport]] = []
                for mapped in self._mapper.run(_read_ahead(reader, tables)):
                    _check_outcomes(mapped)
                    waiting.append(writer.submit(self._write, mapped, tell))
                    while len(waiting) > _WRITTEN_AHEAD or (waiting and waiting[0].done()):
                        yield waiting.pop(0).result()
                for future in waiting:
                    yield future.result()
        finally:
            dataset.close()

    def close(self) -> None:
        """Release the model."""
        self.task.close()

    def _locate(self, part: Part, row: int) -> str:
        return f"{self.job.identity.files[part.file]['path']}, row {part.slice.first + row + 1}"

    def _write(self, mapped: MappedTable[Part], tell: Callable[[PartReport], Any]) -> PartReport:
        part, outcomes = mapped.key, mapped.outcomes
        table = add_metadata(mapped.table, self._description)
        name = self.job.part_name(part)
        write = FORMATS[self.job.identity.format].write

        def write_table(path: Path) -> None:
            try:
                write(table, path)
            except pa.ArrowException as error:
                if isinstance(error, OSError):
                    raise
                raise InputError(f"{name} cannot be written: {error}; take another --format") from error

        self.job.folder.write(name, write_table)
        report = PartReport(
            part.number,
            part.slice.rows,
            part.slice.rows - mapped.inputs,
            outcomes.failed,
            outcomes.cut,
            outcomes.tokens,
            next((str(error) for error in outcomes.errors if error is not None), None),
        )
        tell(report)
        return report


def load_worker(settings: WorkerSettings) -> PartWorker:
    """A worker for a job that is written down already: in another process, or on another machine.

    Raises:
        BundleError: the bundle there is another than the job's.
        InputError: the job is not there.
    """
    job = read_job(OutputFolder(settings.folder))
    if job is None:
        raise InputError(f"{settings.folder} holds no job, seen from here; a folder must be the same for all machines")
    task = load_task(settings.bundle, job.identity.options, settings.session)
    digest = task_digest(task)
    if digest != job.identity.digest:
        raise BundleError(
            f"{settings.bundle} is another bundle here: its digest is {digest}, the job's {job.identity.digest}; give "
            "all machines the same one"
        )
    return PartWorker(job, task, fail_fast=settings.fail_fast)


def load_task(bundle: str | os.PathLike[str], options: Mapping[str, Any], session: Mapping[str, Any]) -> Task:
    """The pipeline for a job's options."""
    task: Task = pipeline(model=bundle, **session, **split_options(options)[0])
    return task


def task_digest(task: Task) -> str:
    """The digest of the bundle that a pipeline was loaded from."""
    from edgepipe.bundle.directory import Bundle

    return Bundle.load(task.model.directory).digest  # type: ignore[attr-defined]


def _check_outcomes(mapped: MappedTable[Part]) -> None:
    """A model of which no row gets a result is broken: nobody wants millions of errors.

    Raises:
        BundleError: that is so.
    """
    errors = [error for error in mapped.outcomes.errors if isinstance(error, NotFiniteError)]
    if 1 < mapped.inputs == len(errors):
        raise BundleError(f"no row of part {mapped.key.number} has a result: {errors[0]}")


def _read_ahead(reader: ThreadPoolExecutor, tables: Iterator[tuple[Part, pa.Table]]) -> Iterator[tuple[Part, pa.Table]]:
    """The same tables; the next is read in another thread meanwhile."""
    future = reader.submit(next, tables, None)
    while (found := future.result()) is not None:
        future = reader.submit(next, tables, None)
        yield found
