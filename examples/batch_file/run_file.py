"""Run a pipeline on every line of a file of any size: ``python run_file.py BUNDLE INPUT OUTPUT``.

INPUT is text in UTF-8, one input a line. OUTPUT gets one line of JSON for each: ``{"line": 1, "result": …}``, or
``{"line": 1, "error": "…"}`` where the line cannot be used.

The file is read in blocks, so memory does not grow with it. Results are collected in ``OUTPUT.part`` and renamed to
OUTPUT at the end. A run that was stopped in any way goes on after its last whole block when it is started again. The
blocks are the same in every run, so the output has the same bytes as that of a run that was never stopped.
``OUTPUT.job`` says what the results depend on, so that no run goes on with another bundle or another input.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from edgepipe import Bundle, EdgepipeError, pipeline
from edgepipe.errors import InputError

BLOCK = 1024  # lines
SECONDS = 5  # between two lines of progress


def main(arguments: Sequence[str]) -> None:
    """Run or go on.

    Raises:
        SystemExit: the work cannot be done; the message says why.
    """
    options = parse(arguments)
    show_warnings_once()
    output = options.output
    part, job_file = (output.with_name(f"{output.name}.{suffix}") for suffix in ("part", "job"))
    if output.exists():
        job_file.unlink(missing_ok=True)
        sys.exit(f"{output} exists: it is complete. Remove it to run again, or name another.")
    bundle = Bundle.load(options.bundle, dtype=options.dtype)
    with part.open("a+b") as results, options.input.open("rb") as lines:
        try:
            fcntl.flock(results, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"{part} is being written by another process.")
        check_job(describe_job(bundle, options), job_file, part)
        done = resume(results)
        if done:
            print(f"{done} lines are done already", file=sys.stderr)
        for _ in islice(lines, done):
            pass
        run = pipeline(model=bundle, dtype=options.dtype, batch_size=options.batch_size)
        total, failed = write_results(run, lines, results, done)
    part.replace(output)
    sync_folder(output.parent)
    job_file.unlink()
    print(f"{total} lines, {failed} of those read now have an error: {output}", file=sys.stderr)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", help="directory or Hub id")
    parser.add_argument("input", type=Path, help="text in UTF-8, one input a line")
    parser.add_argument("output", type=Path, help="the file to write, JSON lines")
    parser.add_argument("--dtype", help="variant, e.g. int8")
    parser.add_argument("--batch-size", type=int, default=16)
    return parser.parse_args(arguments)


def show_warnings_once() -> None:
    """Show the first warning of each kind: a file has many texts that are longer than the model takes."""
    shown: set[tuple[str, int]] = set()

    def show(message: Warning | str, category: type[Warning], file: str, line: int, *_: object) -> None:
        if (file, line) not in shown:
            shown.add((file, line))
            print(f"{message} (said once)", file=sys.stderr)

    warnings.showwarning = show
    warnings.simplefilter("always")


def describe_job(bundle: Bundle, options: argparse.Namespace) -> dict[str, Any]:
    """What the results depend on."""
    dtype = options.dtype or bundle.default_dtype
    record = bundle.path / ("edgepipe.json" if bundle.manifest is not None else "config.json")
    status = options.input.stat()
    return {
        "bundle": [
            hashlib.sha256(record.read_bytes()).hexdigest(),
            *(file.stat().st_size for file in bundle.files(dtype)),
        ],
        "dtype": dtype,
        "batch_size": options.batch_size,
        "block": BLOCK,
        "input": [status.st_size, status.st_mtime_ns],
    }


def check_job(job: dict[str, Any], job_file: Path, part: Path) -> None:
    """Write down what the results depend on; where that is done, compare.

    Raises:
        SystemExit: the results that are there are those of another job.
    """
    if part.stat().st_size == 0:
        written = job_file.with_name(f"{job_file.name}.new")
        with written.open("wb") as stream:
            stream.write(dump(job))
            sync(stream)
        written.replace(job_file)
        sync_folder(job_file.parent)
        return
    was = (read_json(job_file.read_bytes()) if job_file.exists() else None) or {}
    changed = [name for name, value in job.items() if was.get(name) != value]
    if changed:
        sys.exit(f"{part} was begun with another {', '.join(changed)}. Remove it to begin anew.")


def resume(results: BinaryIO) -> int:
    """Find how many lines are done, and cut off what comes after the last whole block.

    What a power cut left at the end, half a line or bytes of zero, is no valid line.
    """
    results.seek(0)
    done = end = count = 0
    while (record := read_json(results.readline())) is not None and record.get("line") == count + 1:
        count += 1
        if count % BLOCK == 0:
            done, end = count, results.tell()
    results.truncate(end)
    results.seek(end)
    return done


def write_results(run: Any, lines: BinaryIO, results: BinaryIO, done: int) -> tuple[int, int]:
    """Append the results of the lines that are left.

    Returns:
        How many lines the input has, and how many of those that were read now cannot be used.
    """
    failed, first, began = 0, done, time.monotonic()
    said = began
    for block in blocks(lines):
        for result in run_block(run, block):
            done += 1
            failed += "error" in result
            results.write(dump({"line": done, **result}))
        sync(results)  # a power cut costs one block
        now = time.monotonic()
        if now - said >= SECONDS:
            said = now
            print(f"{done} lines, {(done - first) / (now - began):.0f} a second", file=sys.stderr, flush=True)
    return done, failed


def blocks(lines: BinaryIO) -> Iterator[list[bytes]]:
    """The lines, so many at a time."""
    while block := list(islice(lines, BLOCK)):
        yield block


def run_block(run: Any, block: list[bytes]) -> list[dict[str, Any]]:
    """The result of each line; those that cannot be used have the reason instead."""
    texts = [decode(line) for line in block]
    usable = [text for text in texts if text is not None]
    try:
        found = [{"result": result} for result in run(usable)]
    except InputError:  # one of them; alone each tells
        found = [run_one(run, text) for text in usable]
    answers = iter(found)
    return [{"error": "the line is not UTF-8"} if text is None else next(answers) for text in texts]


def run_one(run: Any, text: str) -> dict[str, Any]:
    """The result of one text, or why there is none."""
    try:
        return {"result": run(text)}
    except InputError as error:
        return {"error": str(error)}


def decode(line: bytes) -> str | None:
    """The text of a line without its end; None where it is not UTF-8."""
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return None


def dump(record: dict[str, Any]) -> bytes:
    """A line of JSON."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def read_json(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None where the line is not whole or holds none."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def sync(stream: BinaryIO) -> None:
    """Have the disk hold what was written."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Have the disk hold the names of a folder's files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (EdgepipeError, OSError) as error:
        sys.exit(f"Error: {error}")
