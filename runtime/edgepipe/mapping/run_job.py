"""A job from its beginning, or from where it was, to its end: plan, run, and join the parts to one file if wanted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgepipe.errors import InputError
from edgepipe.mapping.batch_mapper import choose_embedding, split_options
from edgepipe.mapping.execution import Execution, choose_execution, load_side_by_side
from edgepipe.mapping.job import (
    PART_ROWS,
    RECORD,
    Identity,
    Job,
    Part,
    check_same,
    describe_file,
    plan_parts,
    read_job,
    remove_job,
)
from edgepipe.mapping.output_folder import OutputFolder
from edgepipe.mapping.part_files import FORMATS
from edgepipe.mapping.part_processes import run_in_processes
from edgepipe.mapping.part_worker import PartReport, PartWorker, WorkerSettings, load_task, task_digest
from edgepipe.mapping.sources.dataset import find_dataset_files
from edgepipe.mapping.sources.storage import StoredFile, is_local, local_path
from edgepipe.pipelines.base import Task
from edgepipe.tables.column_roles import choose_columns, read_input

# Is told what is done, how many rows are done, and how many there are.
Show = Callable[[str, int, int], None]

# Makes the parts of a job; the report of each when it is written.
RunParts = Callable[[WorkerSettings, Job, Sequence[Part]], Iterator[PartReport]]

# Arguments of `pipeline`; all others are options of the task.
_SESSION = (
    "task",
    "dtype",
    "device",
    "num_threads",
    "workers",
    "revision",
    "local_files_only",
    "low_memory",
    "providers",
    "verify",
)

# Inputs by which the fastest way is found, and rows below which nobody measures.
_SAMPLE = 256
_FEW = 1500


@dataclass(frozen=True, slots=True)
class MapReport:
    """What a job did.

    Attributes:
        output: What was written.
        rows: How many rows it has.
        kept: How many of them were there already.
        empty: How many of the others have no text, and so no result.
        failed: How many have an error.
        cut: How many were cut at the model's limit.
        tokens: How many tokens went through the model.
        seconds: How long the rows took that were not there.
        execution: How they went through.
        first_error: The first message of a row; None where there is none.
    """

    output: str
    rows: int
    kept: int
    empty: int
    failed: int
    cut: int
    tokens: int
    seconds: float
    execution: str
    first_error: str | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return asdict(self)


def run_job(
    bundle: str,
    data: Any,
    output: str,
    *,
    columns: Sequence[str] = (),
    format: str | None = None,
    part_rows: int = PART_ROWS,
    batch_size: int | None = None,
    processes: int | None = None,
    overwrite: bool = False,
    fail_fast: bool = False,
    run_parts: RunParts | None = None,
    show: Show | None = None,
    **options: Any,
) -> MapReport:
    """Run a bundle over files, into files.

    Args:
        bundle: A directory or Hub id.
        data: A path, folder, glob or address, or a list of those.
        output: A folder; or a file that ends in ``.parquet``, ``.jsonl`` or ``.csv``.
        columns: ``NAME`` or ``ROLE=NAME``, in the order of the roles.
        format: Of a folder's files: ``"parquet"``, ``"jsonl"`` or ``"csv"``; by default that of the first that is read.
        part_rows: The most rows of a part.
        batch_size: How many texts go through the model at once; by default so many as change no result.
        processes: How many processes make parts; by default what is fastest.
        overwrite: Whether results of another job are removed.
        fail_fast: Whether a row that cannot be used ends the job.
        run_parts: Makes the parts in place of this machine.
        show: Is told how far it is.
        **options: Of :func:`edgepipe.pipeline` and of the task.

    Raises:
        EdgepipeError: see :func:`edgepipe.map_dataset`.
    """
    show = show or (lambda step, done, total: None)
    session, task_options = split_session(options)
    files = find_dataset_files([data] if isinstance(data, (str, os.PathLike)) else list(data))
    target = _find_target(output, format, files)
    target.check(overwrite=overwrite)
    if overwrite:
        remove_job(target.folder)
    wanted = _Wanted(files, target, columns, part_rows, batch_size, session, task_options)
    before = read_job(target.folder)
    task = load_task(bundle, task_options, session)
    try:
        job, missing, execution, task = _prepare(task, wanted, before, show)
        if processes is not None:
            execution = replace(execution, processes=processes)
        settings = WorkerSettings(bundle, target.folder.address, {**session, **execution.session}, fail_fast)
        begin = time.perf_counter()
        if run_parts is not None:
            task.close()
            reports = run_parts(settings, job, missing)
        elif execution.processes > 1 and len(missing) > 1:
            task.close()
            one = {**session, "num_threads": 1, "workers": 1, "dtype": job.identity.dtype, "verify": "never"}
            reports = run_in_processes(replace(settings, session=one), missing, execution.processes)
        else:
            execution = replace(execution, processes=1)
            reports = PartWorker(job, task, fail_fast=fail_fast).run(missing)
        found = list(_count(reports, job, missing, show))
        seconds = time.perf_counter() - begin
    finally:
        task.close()
    target.finish(job)
    return _report(output, job, missing, found, seconds, execution)


def split_session(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of :func:`edgepipe.pipeline`, and the options of the task."""
    session = {name: value for name, value in options.items() if name in _SESSION}
    return session, {name: value for name, value in options.items() if name not in _SESSION}


@dataclass(frozen=True)
class _Target:
    """What is written: a folder of parts, or one file that they become in the end."""

    folder: OutputFolder
    format: str
    file: Path | None = None

    def check(self, *, overwrite: bool) -> None:
        if self.file is None:
            return
        if self.file.exists() and not overwrite:
            raise InputError(f"{self.file} is there already; name another file, or write over it with --overwrite")
        if not self.file.parent.is_dir():
            raise InputError(f"{self.file} cannot be written: there is no folder {self.file.parent}; make it first")

    def finish(self, job: Job) -> None:
        """Join the parts, where one file is wanted, and remove them."""
        if self.file is None:
            return
        parts = [local_path(self.folder.address) / job.part_name(part) for part in job.parts]
        if not parts:
            raise InputError(f"nothing was written to {self.file}: there are no rows")
        place = OutputFolder(str(self.file.parent))
        place.write(self.file.name, lambda path: FORMATS[self.format].join(parts, path))
        for part in job.parts:
            self.folder.remove(job.part_name(part))
        self.folder.remove(RECORD)
        self.folder.remove_if_empty()


def _find_target(output: str, format_name: str | None, files: Sequence[StoredFile]) -> _Target:
    end = os.path.splitext(output)[1].removeprefix(".").lower()
    if end in FORMATS and not output.endswith(("/", os.sep)):
        if format_name not in (None, end):
            raise InputError(f"{output} ends in .{end}, and the format is {format_name}; leave one of them out")
        if not is_local(output):
            raise InputError(f"{output} is one file at an address; name a folder there: each part becomes a file")
        file = local_path(output)
        return _Target(OutputFolder(str(file.with_name(f".{file.name}.parts"))), end, file)
    if format_name is not None and format_name not in FORMATS:
        raise InputError(f"the format is one of {', '.join(FORMATS)}, got {format_name!r}")
    return _Target(OutputFolder(output), format_name or _format_of(files[0]))


def _format_of(file: StoredFile) -> str:
    """The format of what is read."""
    name = file.name.lower()
    return "parquet" if ".parquet" in name else "csv" if ".csv" in name or ".tsv" in name else "jsonl"


@dataclass(frozen=True)
class _Wanted:
    """What a caller wants; see :func:`run_job`."""

    files: Sequence[StoredFile]
    target: _Target
    columns: Sequence[str]
    part_rows: int
    batch_size: int | None
    session: Mapping[str, Any]
    options: Mapping[str, Any]


def _prepare(
    task: Task, wanted: _Wanted, before: Job | None, show: Show
) -> tuple[Job, Sequence[Part], Execution, Task]:
    """The job, new or as it was; the parts that are missing; how they run here, and in which pipeline."""
    options, folder = wanted.options, wanted.target.folder
    files = [describe_file(file) for file in wanted.files]  # before they are read: a change is seen then
    if before is None:
        dataset, parts = plan_parts(
            wanted.files, wanted.part_rows, lambda done, total: show("reading files", done, total)
        )
    else:
        dataset, parts = before.dataset, list(before.parts)
    chosen = choose_columns(task.name, dataset.schema.names, wanted.columns, dataset.address)
    embedding = choose_embedding(task, split_options(options)[1])
    size = wanted.batch_size
    if size is None and before is not None:
        size = before.identity.batch_size
    missing = parts if before is None else before.missing_parts()
    execution = Execution(size or 1, {})
    if missing:
        many = sum(part.slice.rows for part in parts) >= _FEW
        inputs = _take_sample(dataset.read(parts[0].file, parts[0].slice), chosen) if many else []
        dataset.close()
        beside = load_side_by_side(task, split_options(options)[0], wanted.session)
        execution, task = choose_execution(task, beside, inputs, embedding=embedding, batch_size=size)
    identity = Identity(
        task_digest(task),
        task.model.dtype,
        task.name,
        dict(options),
        chosen,
        execution.batch_size,
        files,
        wanted.target.format,
        wanted.part_rows,
    )
    if before is not None:
        check_same(before, identity)
        folder.remove_leftovers()
        return before, missing, execution, task
    job = Job(identity, dataset.schema, parts, folder)
    job.write()
    return job, missing, execution, task


def _take_sample(table: Any, columns: Mapping[str, str]) -> list[Any]:
    """Some inputs, evenly from a table."""
    names = dict.fromkeys(columns.values())
    step = max(1, table.num_rows // _SAMPLE)
    some = table.select(list(names)).take(list(range(0, table.num_rows, step))[:_SAMPLE]).to_pylist()
    found: list[Any] = []
    for row in some:
        try:
            found.append(read_input(columns, row, ""))
        except InputError:
            continue
    return [each for each in found if each is not None]


def _count(reports: Iterator[PartReport], job: Job, missing: Sequence[Part], show: Show) -> Iterator[PartReport]:
    """The same reports, shown as rows that are done."""
    total = job.rows
    begun = time.perf_counter()
    done = kept = total - sum(part.slice.rows for part in missing)
    show("rows", done, total)
    for report in reports:
        done += report.rows
        rate = (done - kept) / max(1e-9, time.perf_counter() - begun)
        show(f"{rate:,.0f} rows/s", done, total)
        yield report


def _report(
    output: str,
    job: Job,
    missing: Sequence[Part],
    found: Sequence[PartReport],
    seconds: float,
    execution: Execution,
) -> MapReport:
    in_order = sorted(found, key=lambda report: report.number)
    return MapReport(
        output,
        job.rows,
        job.rows - sum(part.slice.rows for part in missing),
        sum(each.empty for each in found),
        sum(each.failed for each in found),
        sum(each.cut for each in found),
        sum(each.tokens for each in found),
        seconds,
        execution.describe(),
        next((each.error for each in in_order if each.error is not None), None),
    )
