"""``edgepipe run``: texts from arguments, files or standard input through a pipeline, results line by line."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import click

from edgepipe.bundle import strict_json
from edgepipe.bundle.integrity import parse_json
from edgepipe.cli.shared_options import (
    complete_folder,
    parse_options,
    quiet_option,
    session_options,
    task_option,
    verify_option,
)
from edgepipe.errors import InputError, escape_controls
from edgepipe.tables.text_lines import decode_lines, read_raw_lines

if TYPE_CHECKING:
    from edgepipe.tables.input_rows import InputRow
    from edgepipe.tables.table_file import TableFile

Count = Callable[[Iterable[Any]], Iterator[Any]]
Source: TypeAlias = "TableFile | Path"

# What a directory is usually called, and a text of several words never.
_NAME = re.compile(r"\w([\w.~+-]*\w)?")

# Files whose lines are no texts.
_NO_LINES = {
    ".json",
    ".xlsx",
    ".xls",
    ".ods",
    ".arrow",
    ".feather",
    ".pkl",
    ".npy",
    ".gz",
    ".zip",
    ".bz2",
    ".xz",
    ".zst",
}


@click.command()
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] [TEXT]...", shell_complete=complete_folder)
@click.option(
    "--file",
    "-f",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A table: .csv, .tsv, .jsonl or .parquet. Any other file has a text a line.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="[ROLE=]NAME",
    help="Column of the table that has the texts; for several roles e.g. question=Q and context=C.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write the rows with their results to a .csv, .jsonl or .parquet file.",
)
@click.option("--task", help="[default: the bundle's]")
@click.option("--json", "as_json", is_flag=True, help='One {"input", "output"} object a line.')
@task_option
@click.option("--json-input", is_flag=True, help="Inputs are JSON, not text: objects, or lists of words.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Texts that go through at once."
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Batches that run side by side."
)
@verify_option
@click.option(
    "--serve-stdin",
    is_flag=True,
    help="Stay: a line of JSON on standard input for each request, a line of JSON back. See docs/how-to/services.md.",
)
@click.option("--revision", help="Branch, tag or commit, for a Hub id.")
@click.option("--local-files-only", is_flag=True, help="Do not use the network.")
@quiet_option
@session_options
def run(
    arguments: tuple[str, ...],
    files: tuple[Path, ...],
    columns: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    pairs: tuple[str, ...],
    json_input: bool,
    serve_stdin: bool,
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
    if serve_stdin:
        _serve(arguments, {"texts": arguments[1:], "--file": files, "--output": output}, pairs, pipeline_arguments)
        return
    model, texts = split_model(arguments, has_file=bool(files))
    if not texts and not files and sys.stdin.isatty():
        raise click.UsageError("no text: give some as arguments, with --file, or on standard input")
    if json_input and (columns or output is not None):
        raise click.UsageError("--json-input reads JSON by line: leave --column and --output out")
    if output is not None and as_json:
        raise click.UsageError("--output writes a table: leave --json out")
    sources: list[Source] = list(files) if json_input else open_sources(files)
    if columns and not any(map(_is_table, sources)):
        raise click.UsageError("--column is for tables: give one with --file (.csv, .tsv, .jsonl or .parquet)")
    if output is not None:
        from edgepipe.tables.table_writer import check_output

        check_output(output, files)
    from edgepipe.factory import pipeline

    task = pipeline(model=model, **pipeline_arguments, **parse_options(pairs))
    takes_texts = json_input or task.json_example is None
    if not takes_texts and (texts or not sources or not all(map(_is_table, sources))):
        raise click.UsageError(
            f"{task.name} takes no plain texts: pass --json-input, and each input as e.g. '{task.json_example}'"
        )
    is_long = bool(files) or not texts
    shows_count = is_long and not quiet and _can_show_count(has_output=output is not None)
    count = count_results(len(texts), sources) if shows_count else iter
    if json_input:
        from edgepipe.tables.input_rows import TEXT

        lines = (row.cells[TEXT] for row in read_rows(texts, files, [{}] * len(files)))
        write_inputs(task, parse_inputs(lines), as_json=as_json, count=count)
        return
    chosen = choose_all_columns(task.name, sources, columns, quiet=quiet)
    rows = read_rows(texts, sources, chosen)
    if output is None:
        from edgepipe.tables.input_rows import inputs_of

        write_inputs(task, inputs_of(rows), as_json=as_json, count=count)
    else:
        write_output(task, rows, sources, output, has_texts=bool(texts) or not sources, count=count)


def _serve(
    arguments: Sequence[str], refused: Mapping[str, Any], pairs: Sequence[str], pipeline_arguments: Mapping[str, Any]
) -> None:
    """Answer requests on standard input; `refused` has what makes no sense beside."""
    for name, value in refused.items():
        if value:
            raise click.UsageError(f"--serve-stdin takes its requests from standard input: leave {name} out")
    from edgepipe.cli.line_service import serve_lines
    from edgepipe.factory import pipeline

    model = arguments[0] if arguments else None
    with pipeline(model=model, **pipeline_arguments, **parse_options(pairs)) as task:
        serve_lines(task, sys.stdin.buffer, sys.stdout.buffer)


def open_sources(files: Iterable[Path]) -> list[Source]:
    """Files that are tables, opened; any other as it is, to be read by line.

    Raises:
        InputError: a table cannot be read, or a file is neither a table nor has a text a line.
    """
    found: list[Source] = []
    for file in files:
        if file.suffix.lower() in _NO_LINES:
            raise InputError(
                f"{file} has no text a line, and is no table that is known here; write it as .csv, .tsv, .jsonl or "
                ".parquet"
            )
        from edgepipe.tables.table_file import TableFile, is_table

        found.append(TableFile(file) if is_table(file) else file)
    return found


def choose_all_columns(
    task: str, sources: Sequence[Source], named: Sequence[str], *, quiet: bool = False
) -> list[Mapping[str, str]]:
    """The columns to read of each source; a note on standard error says which nobody named.

    Raises:
        InputError: a table has no such column, or it cannot be told which to read.
    """
    chosen: list[Mapping[str, str]] = []
    for source in sources:
        if isinstance(source, Path):
            chosen.append({})
            continue
        from edgepipe.tables.column_roles import choose_columns

        chosen.append(choose_columns(task, source.columns, named, str(source.path)))
        if not named and not quiet:
            click.echo(
                f"Note: {source.path} is read by {', '.join(chosen[-1].values())}; --column names others", err=True
            )
    return chosen


def read_rows(
    texts: Sequence[str], sources: Sequence[Source], chosen: Sequence[Mapping[str, str]]
) -> Iterator[InputRow]:
    """The rows of texts and sources, or of standard input; `chosen` has the columns of each source."""
    from edgepipe.tables.input_rows import rows_of_lines, rows_of_table, rows_of_texts

    yield from rows_of_texts(texts)
    for source, columns in zip(sources, chosen, strict=True):
        if isinstance(source, Path):
            yield from rows_of_lines(read_raw_lines(source))
        else:
            yield from rows_of_table(source, columns)
    if not texts and not sources:
        yield from rows_of_lines(decode_lines(sys.stdin.buffer, "standard input"))


def write_output(
    task: Any,
    rows: Iterable[InputRow],
    sources: Sequence[Source],
    output: Path,
    *,
    has_texts: bool,
    count: Count = iter,
) -> None:
    """Run a task over rows and write them with their results; a warning says how many have none.

    Args:
        task: The pipeline.
        rows: The rows of `sources`, and of texts that are in none.
        sources: Tables, and files that are read by line.
        output: The table to write.
        has_texts: Whether there are texts that are in no source.
        count: Passes results on and counts them.
    """
    from edgepipe.tables.input_rows import TEXT
    from edgepipe.tables.map_rows import map_rows
    from edgepipe.tables.table_writer import write_table

    tables = [source for source in sources if not isinstance(source, Path)]
    by_line = has_texts or len(tables) < len(sources)
    columns = list(dict.fromkeys(chain([TEXT] if by_line else [], *(each.columns for each in tables))))
    # A line of JSON need not have every column, but other rows do.
    filled = {} if output.suffix.lower() == ".jsonl" else dict.fromkeys(columns)
    schema = tables[0].schema if tables and len(sources) == 1 else None
    with write_table(output, columns, schema) as writer:
        written = map_rows(task, rows, lambda row: writer.write({**filled, **row}), columns, count)
    if written:
        warnings.warn(f"rows without a text, written without a result: {written}", stacklevel=2)


def write_inputs(task: Any, inputs: Iterator[Any], *, as_json: bool, count: Count = iter) -> None:
    """Run a task over inputs and write its results to standard output."""
    if task.generates and not as_json:
        write_texts(task, inputs, sys.stdout, count=count)
    else:
        write_results(task, inputs, sys.stdout, as_json=as_json, count=count)


def _is_table(source: Source) -> bool:
    return not isinstance(source, Path)


def _can_show_count(*, has_output: bool) -> bool:
    """Whether results go elsewhere than to the terminal that somebody waits at."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty() and (has_output or not sys.stdout.isatty())
    return on_terminal and find_spec("tqdm") is not None


def count_results(texts: int, sources: Sequence[Source]) -> Count:
    """What counts results on standard error, with an estimate where all inputs can be counted before.

    Args:
        texts: How many inputs there are beside those of the sources.
        sources: Tables, and files with an input a line; none for standard input.
    """
    from edgepipe.pipelines.base import show_progress

    # A pipe can be read only once.
    known = bool(sources) and all(source.is_file() for source in sources if isinstance(source, Path))
    counts = (_count_lines(source) if isinstance(source, Path) else len(source) for source in sources)
    total = texts + sum(counts) if known else None
    return lambda results: show_progress(results, total)


def _count_lines(file: Path) -> int:
    """Lines that are not blank."""
    with file.open("rb") as stream:
        return sum(1 for line in stream if line.strip())


def split_model(arguments: Sequence[str], *, has_file: bool = False) -> tuple[str | None, list[str]]:
    """Tell the bundle from the texts: ``run BUNDLE TEXT...`` and ``run TEXT...`` are both allowed.

    The first argument is a bundle if it is an existing directory, or if it looks like a path or Hub id (a slash, no
    blank) and texts follow it, here or in a file. A warning says of a Hub id alone that it is taken as a text.

    Raises:
        InputError: the first of several is written like a directory's name, and there is no such directory; or a
            text is the name of a file.
    """
    if not arguments:
        return None, []
    first, *rest = arguments
    has_slash = "/" in first and not any(map(str.isspace, first))
    if os.path.isdir(first) or (has_slash and (rest or has_file or first.startswith((".", "/", "~")))):
        model, texts = first, rest
    elif (rest or has_file) and _NAME.fullmatch(first):
        raise InputError(
            f"{first!r} looks like a bundle's name, and there is no such directory here; check the path, or give "
            "single words as texts on standard input, one a line"
        )
    else:
        model, texts = None, list(arguments)
    for text in texts:
        if _NAME.fullmatch(text) and os.path.isfile(text):
            raise InputError(f"{text!r} is a file, and no text; give it with --file")
    if has_slash and model is None:
        warnings.warn(
            f"{first!r} is no directory here, so it is a text like the others, for the embedded sentiment model; name "
            "a bundle by its path, and with a Hub id give the texts as arguments or with --file",
            stacklevel=2,
        )
    return model, texts


def parse_inputs(lines: Iterable[str]) -> Iterator[Any]:
    """Lines that are JSON: inputs that are no plain text, e.g. a question with its context. Empty lines are skipped.

    Raises:
        InputError: a line is not JSON; the message has its number.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield parse_json(line)
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
            # Each result is one line: a text of several is written as JSON.
            shown = item if isinstance(item, str) and "\n" not in item else _json(item)
            out.write(_for_reader(f"{render_result(result)}\t{shown}\n", out))
        out.flush()


def write_texts(task: Any, inputs: Iterator[Any], out: TextIO, *, count: Count = iter) -> None:
    """Run a task that writes text over inputs: on a terminal while it is written, elsewhere when it is whole.

    A search with beams has nothing to show before its end. `count` passes results on and counts them.
    """
    if not (out.isatty() and task.streams):
        for result in count(task(inputs)):
            out.write(_for_reader(render_result(result) + "\n", out))
            out.flush()
        return
    for prompt in inputs:
        out.write(_for_reader(task.before_stream(prompt), out))
        for piece in task.stream(prompt):
            out.write(_for_reader(piece, out))
            out.flush()
        out.write("\n")


def render_result(result: Any) -> str:
    """A result for people: labels with scores on one line, texts as they are, JSON of anything else."""
    entries = result if isinstance(result, list) else [result]
    texts = [value for entry in entries if isinstance(entry, Mapping) for value in _single_text(entry)]
    if texts and len(texts) == len(entries):
        return "\n".join(texts)
    if entries and all(isinstance(entry, Mapping) and {"label", "score"} <= entry.keys() for entry in entries):
        return "  ".join(f"{_on_a_line(entry['label'])} {entry['score']:.4f}" for entry in entries)
    return _json(result)


def _on_a_line(label: Any) -> str:
    """A label without what would end its line or its column."""
    return escape_controls(str(label)).replace("\n", "\\n").replace("\t", "\\t")


def _for_reader(text: str, out: TextIO) -> str:
    """A text as a terminal shows it; elsewhere as it is."""
    return escape_controls(text) if out.isatty() else text


def _single_text(entry: Mapping[str, Any]) -> list[str]:
    """The text of an entry that holds nothing else, e.g. ``{"generated_text": "..."}``."""
    return [
        value for name, value in entry.items() if name.endswith("_text") and isinstance(value, str) and len(entry) == 1
    ]


def _json(value: Any) -> str:
    """JSON on one line; numbers and arrays of numpy as plain ones."""
    return strict_json.dumps(value, indent=None)
