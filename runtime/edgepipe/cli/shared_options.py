"""Options that several commands have, and what several commands need: the exporter, progress, JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from edgepipe.errors import DependencyError, InputError
from edgepipe.text_table import terminal_width

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Columns of a terminal that does not say how many it has.
_USUAL_WIDTH = 80

# Columns of what a step is called, and of the bar beside it; where the bar would be shorter it is left out.
_LABEL, _SHORTEST_BAR, _LONGEST_BAR = 28, 8, 36


def complete_folder(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Have the shell complete a folder's name: a bundle, a checkpoint."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def complete_name(
    names: Callable[[], Iterable[str]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """Have the shell complete one of some names, the last of several that have commas between them.

    Args:
        names: Gives the names; called when they are wanted.
    """

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + name) for name in names() if name.startswith(last)]

    return complete


def _dtypes() -> Iterable[str]:
    from edgepipe.bundle.layout import STORED_AS, SUFFIXES

    return *SUFFIXES, *STORED_AS


def _silence_downloads(_context: click.Context, _parameter: click.Parameter, quiet: bool) -> bool:
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when the Hub's client is loaded
    return quiet


def _quiet(*, exposed: bool) -> Callable[..., Any]:
    return click.option(
        "--quiet",
        "-q",
        is_flag=True,
        callback=_silence_downloads,
        expose_value=exposed,
        help="Show no progress, only the result, warnings and errors.",
    )


quiet_option = _quiet(exposed=True)
# For commands that show nothing beside their result but a download.
quiet_download_option = _quiet(exposed=False)
calibration_option = click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Measure on this file as an export's gate does: text, CSV, TSV, JSONL or CoNLL, with or without labels.",
)
max_drop_option = click.option("--max-drop", type=float, help="What a quantized variant may lose, as for export.")
allow_pickle_option = click.option("--allow-pickle", is_flag=True, help="Load pickled weights, as for export.")
report_option = click.option(
    "--report", "page", type=click.Path(path_type=Path), help="Write a page that shows it, with texts."
)
verify_option = click.option(
    "--verify",
    type=click.Choice(("first", "always", "never")),
    default="first",
    show_default=True,
    help="When to check that the variant gives here what it gave where it was made.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
dtype_completion = complete_name(_dtypes)
# Options of the task, for `parse_options`.
task_option = click.option(
    "--option", "-o", "pairs", multiple=True, metavar="NAME=VALUE", help="Option of the task, e.g. top_k=2."
)
files_option = click.option(
    "--file", "-f", "files", multiple=True, type=click.Path(path_type=Path), help="Texts, one a line."
)


def _devices() -> Iterable[str]:
    from edgepipe.backend.engines import device_names

    return device_names()


device_completion = complete_name(_devices)
# Of every command that runs a bundle's graphs.
device_option = click.option(
    "--device",
    shell_complete=device_completion,
    help="cpu, cuda, cuda:1, openvino, auto, or a plug-in: webgpu, webgpu:GPU.  [default: cpu]",
)


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that loads a bundle to run it, under the names of `pipeline`'s arguments."""
    for decorator in (
        click.option(
            "--dtype",
            shell_complete=dtype_completion,
            help="Variant, e.g. fp32 or int8.  [default: the bundle's; on CUDA fp16, else fp32]",
        ),
        device_option,
        click.option(
            "--threads", "num_threads", type=click.IntRange(min=1), help="[default: what the process may use]"
        ),
        click.option("--low-memory", is_flag=True, help="Keep the weights mapped: slower, far less memory."),
    ):
        command = decorator(command)
    return command


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``name=value`` pairs as keyword arguments; a value is JSON where it parses as such, else a string.

    Raises:
        InputError: a pair without ``=``.
    """
    from edgepipe.bundle.integrity import parse_json

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"an option is NAME=VALUE, e.g. top_k=2, got {pair!r}")
        try:
            options[name] = parse_json(value)
        except ValueError:
            options[name] = {"None": None, "True": True, "False": False}.get(value, value)
    return options


def echo_json(value: Any) -> None:
    """Write a value to standard output as one JSON document."""
    from edgepipe.bundle import strict_json

    click.echo(strict_json.dumps(value))


class Comparison(Protocol):
    """What a command found that compares a bundle with what it should give."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        ...

    def table(self, *, width: int | None = None) -> str:
        """All of it for people."""
        ...

    def to_json(self) -> str:
        """All of it as JSON."""
        ...


def echo_comparison(found: Comparison, *, as_json: bool) -> None:
    """Write a comparison to standard output."""
    click.echo(found.to_json() if as_json else found.table(width=terminal_width(sys.stdout)))


def require_passed(found: Comparison) -> None:
    """End with exit status 1 where something is wrong.

    Raises:
        Exit: something is.
    """
    if not found.passed:
        raise click.exceptions.Exit(1)


@contextmanager
def show_steps(*, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show the steps of the block on standard error: a bar with an estimate on a terminal, a line a step elsewhere.

    Args:
        hidden: Whether to show nothing.

    Yields:
        What to call before each step: with what it is, how many are done, and how many there are.
    """
    with ExitStack() as stack:
        bars: list[Any] = []

        def show(step: str, done: int, total: int) -> None:
            if hidden or sys.stderr is None:
                return
            if not bars:
                bars.append(stack.enter_context(_open_bar(step, total)))
            [bar] = bars
            bar.label = _fit_label(step)
            bar.update(done - bar.pos)
            bar.render_progress()

        yield show
        for bar in bars:
            bar.update(bar.length - bar.pos)


def _open_bar(label: str, total: int) -> Any:
    width = (terminal_width(sys.stderr) or _USUAL_WIDTH) - 1
    room = width - _LABEL - len("  []  100%  00:00:00")
    template = "%(label)s  [%(bar)s]  %(info)s" if room >= _SHORTEST_BAR else "%(label)s  %(info)s"
    return click.progressbar(
        length=total, label=_fit_label(label), file=sys.stderr, width=min(_LONGEST_BAR, room), bar_template=template
    )


def _fit_label(label: str) -> str:
    """A label that leaves room for percents and an estimate, as long as every other; on no terminal as it is."""
    width = terminal_width(sys.stderr)
    if width is None:
        return label
    room = max(1, min(_LABEL, width - 1 - len("  100%  00:00:00")))
    return f"{label if len(label) <= room else label[: room - 1] + '…':<{room}}"


def check_page(page: Path | None, *, created: str | Path | None = None) -> Path | None:
    """The absolute path of a report's page, checked before the work whose result it shows.

    Args:
        page: The page; None where none is wanted.
        created: A directory that will be there when it is written.

    Raises:
        DependencyError: a package that a page needs is missing.
        InputError: a page cannot be there.
    """
    if page is None:
        return None
    from edgepipe_export.reporting.report import check_output

    checked: Path = check_output(page, created=created)
    return checked


def write_page(bundle: str, page: Path, *, as_json: bool, **shown: Any) -> None:
    """Write a report's page, and say where it is.

    Args:
        bundle: What the report is of.
        page: See :func:`check_page`.
        as_json: Whether standard output has JSON alone.
        **shown: What else the exporter's ``report`` takes.
    """
    written = load_exporter().report(bundle, page, **shown)
    if not as_json:
        click.echo(f"\nreport: {written}")


def load_exporter() -> Any:
    """The package `edgepipe_export`.

    Raises:
        DependencyError: it is not installed, or a package that it needs is not.
    """
    try:
        import edgepipe_export
    except ImportError as error:
        raise DependencyError(f"the exporter is not installed ({error}); pip install 'edgepipe[export]'") from error
    return edgepipe_export
