"""``edgepipe run``: texts from arguments, files or standard input through a pipeline, results line by line."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import click

from edgepipe.cli.shared_options import complete_folder, files_option, quiet_option, session_options
from edgepipe.errors import InputError

Count = Callable[[Iterable[Any]], Iterator[Any]]


@click.command()
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] [TEXT]...", shell_complete=complete_folder)
@files_option
@click.option("--task", help="[default: the bundle's]")
@click.option("--json", "as_json", is_flag=True, help='One {"input", "output"} object a line.')
@click.option("--option", "-o", "pairs", multiple=True, metavar="NAME=VALUE", help="Option of the task, e.g. top_k=2.")
@click.option("--json-input", is_flag=True, help="Inputs are JSON, not text: objects, or lists of words.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Texts that go through at once."
)
@click.option("--revision", help="Branch, tag or commit, for a Hub id.")
@click.option("--local-files-only", is_flag=True, help="Do not use the network.")
@quiet_option
@session_options
def run(
    arguments: tuple[str, ...],
    files: tuple[Path, ...],
    as_json: bool,
    pairs: tuple[str, ...],
    json_input: bool,
    quiet: bool,
    **pipeline_arguments: Any,
) -> None:
    """Run a bundle on texts: arguments, files, or lines of standard input.

    BUNDLE is a directory or a Hub id; without it the embedded English sentiment model answers. With --json-input each
    text is a JSON value instead: {"question": ..., "context": ...} for question answering, {"text": ..., "text_pair":
    ...} for a pair of texts, a list of words with -o is_split_into_words=true, a list of {"role": ..., "content": ...}
    for a chat. Zero-shot classification needs -o candidate_labels=sport,politics. Text that is generated shows on a
    terminal while it is written.
    """
    model, texts = split_model(arguments, has_file=bool(files))
    if not texts and not files and sys.stdin.isatty():
        raise click.UsageError("no text: give some as arguments, with --file, or on standard input")
    lines: Iterator[str] = chain(texts, *(read_lines(file) for file in files))
    if not texts and not files:
        lines = decode_lines(sys.stdin.buffer, "standard input")
    from edgepipe.pipelines.factory import pipeline

    task = pipeline(model=model, **pipeline_arguments, **parse_options(pairs))
    if not json_input and task.json_example is not None:
        raise click.UsageError(
            f"{task.name} takes no plain texts: pass --json-input, and each input as e.g. '{task.json_example}'"
        )
    inputs = parse_inputs(lines) if json_input else lines
    is_long = bool(files) or not texts
    count = count_results(len(texts), files) if is_long and not quiet and _can_show_count() else iter
    if task.generates and not as_json:
        write_texts(task, inputs, sys.stdout, count=count)
    else:
        write_results(task, inputs, sys.stdout, as_json=as_json, count=count)


def _can_show_count() -> bool:
    """Whether results go elsewhere than to the terminal that somebody waits at."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty() and not sys.stdout.isatty()
    return on_terminal and find_spec("tqdm") is not None


def count_results(texts: int, files: Sequence[Path]) -> Count:
    """What counts results on standard error, with an estimate where all inputs can be counted before.

    Args:
        texts: How many inputs there are beside those of the files.
        files: Files with an input a line; none for standard input.
    """
    from edgepipe.pipelines.base import show_progress

    known = bool(files) and all(map(Path.is_file, files))  # a pipe can be read only once
    total = texts + sum(map(_count_lines, files)) if known else None
    return lambda results: show_progress(results, total)


def _count_lines(file: Path) -> int:
    lines, last = 0, b""
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            lines += block.count(b"\n")
            last = block
    return lines + (last[-1:] not in (b"", b"\n"))


def split_model(arguments: Sequence[str], *, has_file: bool = False) -> tuple[str | None, list[str]]:
    """Tell the bundle from the texts: ``run BUNDLE TEXT...`` and ``run TEXT...`` are both allowed.

    The first argument is a bundle if it is an existing directory, or if it looks like a path or Hub id (a slash, no
    blank) and texts follow it, here or in a file. A warning says of what may have been meant as one that it is taken
    as a text.
    """
    if not arguments:
        return None, []
    first, *rest = arguments
    is_name = not _has_blank(first)
    looks_like_one = is_name and "/" in first
    if os.path.isdir(first) or (looks_like_one and (rest or has_file or first.startswith((".", "/", "~")))):
        return first, rest
    if is_name and (looks_like_one or has_file or any(map(_has_blank, rest))):
        warnings.warn(
            f"{first!r} is no directory here, so it is a text like the others, for the embedded sentiment model; name "
            "a bundle by its path, and with a Hub id give the texts as arguments or with --file",
            stacklevel=2,
        )
    return None, list(arguments)


def _has_blank(text: str) -> bool:
    return any(character.isspace() for character in text)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, without their line ends.

    Raises:
        InputError: the file cannot be read, or is not UTF-8; the message has the line.
    """
    try:
        with path.open("rb") as stream:
            yield from decode_lines(stream, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def decode_lines(lines: Iterable[bytes], origin: str) -> Iterator[str]:
    """Lines of bytes as text, without byte order mark and line end.

    Raises:
        InputError: a line is not UTF-8; the message has `origin` and the line's number.
    """
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{origin}, line {number}, is not UTF-8 ({error}); convert it, e.g. with iconv") from error
        yield text.removesuffix("\n").removesuffix("\r")


def parse_inputs(lines: Iterable[str]) -> Iterator[Any]:
    """Lines that are JSON: inputs that are no plain text, e.g. a question with its context. Empty lines are skipped.

    Raises:
        InputError: a line is not JSON; the message has its number.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError as error:
            raise InputError(
                f'input {number} is not JSON ({error}); with --json-input each is, e.g. {{"question": "...", '
                f'"context": "..."}}, got {line!r:.60}'
            ) from error


def write_results(task: Any, inputs: Iterator[Any], out: TextIO, *, as_json: bool, count: Count = iter) -> None:
    """Run a task over inputs and write each result as soon as it is there, as JSON with its input or as text.

    Args:
        task: The pipeline.
        inputs: What it is for.
        out: Where results go.
        as_json: Whether they are JSON.
        count: Passes results on and counts them.
    """
    waiting: list[Any] = []

    def remember() -> Iterator[Any]:
        for item in inputs:
            waiting.append(item)
            yield item

    for result in count(task(remember())):
        item = waiting.pop(0)
        if as_json:
            out.write(_json({"input": item, "output": result}) + "\n")
        else:
            out.write(f"{render_result(result)}\t{item if isinstance(item, str) else _json(item)}\n")
        out.flush()


def write_texts(task: Any, inputs: Iterator[Any], out: TextIO, *, count: Count = iter) -> None:
    """Run a task that writes text over inputs: on a terminal while it is written, elsewhere when it is whole.

    A search with beams has nothing to show before its end. `count` passes results on and counts them.
    """
    if not (out.isatty() and task.streams):
        for result in count(task(inputs)):
            out.write(render_result(result) + "\n")
            out.flush()
        return
    for prompt in inputs:
        out.write(task.before_stream(prompt))
        for piece in task.stream(prompt):
            out.write(piece)
            out.flush()
        out.write("\n")


def render_result(result: Any) -> str:
    """A result for people: labels with scores on one line, texts as they are, JSON of anything else."""
    entries = result if isinstance(result, list) else [result]
    texts = [value for entry in entries if isinstance(entry, Mapping) for value in _single_text(entry)]
    if texts and len(texts) == len(entries):
        return "\n".join(texts)
    if entries and all(isinstance(entry, Mapping) and {"label", "score"} <= entry.keys() for entry in entries):
        return "  ".join(f"{entry['label']} {entry['score']:.4f}" for entry in entries)
    return _json(result)


def _single_text(entry: Mapping[str, Any]) -> list[str]:
    """The text of an entry that holds nothing else, e.g. ``{"generated_text": "..."}``."""
    return [
        value for name, value in entry.items() if name.endswith("_text") and isinstance(value, str) and len(entry) == 1
    ]


def _json(value: Any) -> str:
    """JSON on one line; numbers and arrays of numpy as plain ones."""
    return json.dumps(value, ensure_ascii=False, default=lambda number: number.tolist())


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``name=value`` pairs as keyword arguments; a value is JSON where it parses as such, else a string.

    Raises:
        InputError: a pair without ``=``.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"an option is NAME=VALUE, e.g. top_k=2, got {pair!r}")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = {"None": None, "True": True, "False": False}.get(value, value)
    return options
