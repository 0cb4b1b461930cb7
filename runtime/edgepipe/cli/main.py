"""The ``edgepipe`` command: the table of its commands.

To add one: a file in ``commands`` with a function of its name (``_`` for ``-``), and its name in ``COMMANDS``.
``edgepipe --help`` reads all these files: a command imports what is slow to load in its function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import NoReturn, cast

import click

from edgepipe.cli.exit_status import Commands, run_and_exit

COMMANDS = (
    "audit",
    "bench",
    "bundle-wheels",
    "check",
    "demo",
    "env",
    "export",
    "info",
    "map",
    "recipes",
    "report",
    "run",
    "serve",
    "verify",
)


class CommandFiles(Mapping[str, click.Command]):
    """Each command by its name; its file is loaded when the command is wanted, so that none pays for another."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in COMMANDS:
            raise KeyError(name)
        module = name.replace("-", "_")
        command: click.Command = getattr(import_module(f"edgepipe.cli.commands.{module}"), module)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@click.group(
    cls=Commands,
    commands=cast(MutableMapping[str, click.Command], CommandFiles()),  # click only reads it
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="edgepipe")
def cli() -> None:
    """Fine-tuned checkpoints as small ONNX bundles, run without torch."""


def main() -> NoReturn:
    """Entry point: run the command line and leave with its exit status."""
    run_and_exit(lambda: cli.main(prog_name="edgepipe", standalone_mode=False))
