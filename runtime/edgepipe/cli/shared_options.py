"""Options that several commands have, and what several commands need: the exporter, if it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgepipe.errors import DependencyError

json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")
files_option = click.option(
    "--file", "-f", "files", multiple=True, type=click.Path(path_type=Path), help="Texts, one a line."
)


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that loads a bundle to run it, under the names of `pipeline`'s arguments."""
    for decorator in (
        click.option("--dtype", help="Variant, e.g. fp32 or int8.  [default: the bundle's; on CUDA fp16, else fp32]"),
        click.option("--device", help="cpu, cuda or cuda:1.  [default: cpu]"),
        click.option(
            "--threads", "num_threads", type=click.IntRange(min=1), help="[default: what the process may use]"
        ),
        click.option("--low-memory", is_flag=True, help="Keep the weights mapped: slower, far less memory."),
    ):
        command = decorator(command)
    return command


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
