"""A job: what is read, by what, into which parts; written down beside them, so that it goes on where it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from edgepipe.bundle import strict_json
from edgepipe.bundle.integrity import parse_json
from edgepipe.errors import InputError
from edgepipe.mapping.output_folder import OutputFolder
from edgepipe.mapping.part_files import FORMATS
from edgepipe.mapping.sources.dataset import Dataset, scan_files
from edgepipe.mapping.sources.source import Slice
from edgepipe.mapping.sources.storage import StoredFile

# What the job is, beside its parts. Readers of datasets pass over names that begin so.
RECORD = "_edgepipe_job.json"
_VERSION = 1

# The most rows of a part, and the most bytes of their text.
PART_ROWS = 4096
PART_BYTES = 1 << 25


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are written together.

    Attributes:
        number: Which of the parts.
        file: Which of the files has the rows.
        slice: Which rows of it.
    """

    number: int
    file: int
    slice: Slice


@dataclass(frozen=True)
class Identity:
    """What makes results what they are: a job goes on only with the same.

    Attributes:
        digest: Of the bundle.
        dtype: The variant.
        task: The task's name.
        options: The task's options.
        columns: The column of each role.
        batch_size: How many pieces go through the model at once.
        files: What is read.
        format: How parts are written.
        part_rows: The most rows of a part.
    """

    digest: str
    dtype: str
    task: str
    options: Mapping[str, Any]
    columns: Mapping[str, str]
    batch_size: int
    files: Sequence[Mapping[str, Any]]
    format: str
    part_rows: int

    def describe(self) -> str:
        """As JSON on one line, without the files: for the metadata of what is written."""
        known = asdict(self)
        del known["files"]
        return strict_json.dumps(known, indent=None)


@dataclass(frozen=True)
class Job:
    """A job as it is written down.

    Attributes:
        identity: What makes its results.
        schema: Of what is read.
        parts: All parts, in the order of the rows.
        folder: Where they are written.
    """

    identity: Identity
    schema: pa.Schema
    parts: Sequence[Part]
    folder: OutputFolder = field(compare=False)

    @property
    def dataset(self) -> Dataset:
        """What is read."""
        files = [StoredFile(each["path"], each["bytes"], each["partition"]) for each in self.identity.files]
        return Dataset(files, self.schema)

    @property
    def rows(self) -> int:
        """How many rows all parts have."""
        return sum(part.slice.rows for part in self.parts)

    def part_name(self, part: Part) -> str:
        """The name of a part's file."""
        return f"part-{part.number:06d}.{self.identity.format}"

    def missing_parts(self) -> list[Part]:
        """The parts that are not there yet."""
        there = self.folder.names()
        return [part for part in self.parts if self.part_name(part) not in there]

    def write(self) -> None:
        """Write the job down."""
        record = {
            "version": _VERSION,
            **asdict(self.identity),
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "parts": [[part.file, part.slice.first, part.slice.rows, part.slice.offset] for part in self.parts],
        }
        text = json.dumps(record, ensure_ascii=False)
        self.folder.write(RECORD, lambda path: _write_text(path, text))


def _write_text(path: Any, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


def read_job(folder: OutputFolder) -> Job | None:
    """The job of a folder; None where the folder is not there, or empty.

    Raises:
        InputError: the folder holds something else, or its record is damaged.
    """
    names = folder.names()
    if RECORD not in names:
        if names:
            raise InputError(f"{folder.address} is not empty, and no job wrote it; name a folder that is new or empty")
        return None
    try:
        record: Any = parse_json(folder.read(RECORD).decode("utf-8", "surrogatepass"))
        if record["version"] != _VERSION:
            raise InputError(f"another version of edgepipe wrote it, {record['version']!r}")
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(record.pop("schema"))))
        parts = [
            Part(number, file, Slice(first, rows, offset))
            for number, (file, first, rows, offset) in enumerate(record.pop("parts"))
        ]
        del record["version"]
        identity = Identity(**record)
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"{folder.address}/{RECORD} cannot be read ({error}); take another folder, or begin anew with --overwrite"
        ) from error
    if identity.format not in FORMATS:
        raise InputError(f"{folder.address}/{RECORD} names the format {identity.format!r}, which is not known here")
    return Job(identity, schema, parts, folder)


def describe_file(file: StoredFile) -> dict[str, Any]:
    """A file as JSON: by what it is seen that it is the same later."""
    return {
        "path": file.path,
        "bytes": file.size,
        "partition": dict(file.partition),
        "fingerprint": file.fingerprint(),
    }


def plan_parts(
    files: Sequence[StoredFile], part_rows: int, show: Callable[[int, int], None]
) -> tuple[Dataset, list[Part]]:
    """Read through files, and cut their rows into parts.

    Raises:
        InputError: a file cannot be read, or files have other columns than the first.
    """
    dataset, slices = scan_files(files, most_rows=part_rows, most_bytes=PART_BYTES, show=show)
    found = [(file, each) for file, own in enumerate(slices) for each in own]
    return dataset, [Part(number, file, each) for number, (file, each) in enumerate(found)]


def check_same(job: Job, identity: Identity) -> None:
    """Make sure that a job goes on with what it began with.

    Raises:
        InputError: something is another; the message says what.
    """
    before, now = asdict(job.identity), asdict(identity)
    for name, value in now.items():
        if before[name] == value:
            continue
        if name == "files":
            raise InputError(
                f"{job.folder.address} holds the results of other files than these, or a file has changed; take "
                "another folder, or begin anew with --overwrite"
            )
        raise InputError(
            f"{job.folder.address} holds the results of another job: its {name} is {before[name]!r:.80}, not "
            f"{value!r:.80}; take another folder, or begin anew with --overwrite"
        )


def remove_job(folder: OutputFolder) -> None:
    """Remove a job and its parts; other files stay.

    Raises:
        InputError: the folder holds something that no job wrote.
    """
    names = folder.names()
    if names and RECORD not in names:
        raise InputError(f"{folder.address} is not empty, and no job wrote it; name a folder that is new or empty")
    for name in names:
        if name.startswith("part-"):
            folder.remove(name)
    folder.remove(RECORD)
