"""``optimum-cli export edgepipe``: ``edgepipe export`` with the model and the task as optimum takes them.

optimum uses argparse, we use click. The options are read from our command, so that the two cannot differ.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import NoReturn

import click

from edgepipe.arguments import nearest_name
from edgepipe.bundle.tasks import TASKS, resolve_alias, task_names
from edgepipe.cli.commands.export import export
from edgepipe.cli.exit_status import run_and_exit
from edgepipe.errors import TaskError

PROGRAM = "optimum-cli export edgepipe"

# What optimum's ``TasksManager`` calls our tasks beside our own names. It counts summarization, translation, zero-shot
# classification and sentence similarity as synonyms of other tasks; to us they are tasks, and come first.
SYNONYMS = {
    "causal-lm": "text-generation",
    "default": "feature-extraction",
    "masked-lm": "fill-mask",
    "pretraining": "feature-extraction",
    "seq2seq-lm": "text2text-generation",
    "sequence-classification": "text-classification",
}
# optimum's way to ask for a graph with a key-value cache. Our graphs that write always have one.
WITH_PAST = "-with-past"
# optimum's way to leave the task to the checkpoint.
AUTO = "auto"


def resolve_task(name: str | None) -> str | None:
    """Our name of a task that optimum's user names.

    Args:
        name: A name of `TasksManager`, with or without ``-with-past``; or one of ours.

    Returns:
        The name; None where the task is to be found from the checkpoint.

    Raises:
        TaskError: it is no task of ours; the message has the nearest and all names.
    """
    if name is None or name == AUTO:
        return None
    plain = name.removesuffix(WITH_PAST)
    task = SYNONYMS.get(plain, plain)
    if resolve_alias(task) in TASKS:
        return task
    known = sorted([*task_names(), *SYNONYMS])
    near = nearest_name(plain, known)
    hint = f" (did you mean {near!r}?)" if near else ""
    raise TaskError(f"edgepipe has no task {name!r}{hint}; it exports models for {', '.join(known)}")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the model, the output and every option of ``edgepipe export`` to optimum's parser."""
    parser.allow_abbrev = False
    parser.add_argument("-m", "--model", help="Hub id or directory of the checkpoint; not with --recipe")
    parser.add_argument("output", metavar="OUT", help="The directory to write")
    for option in _options():
        assert option.help is not None
        text = option.help.replace("%", "%%")
        if option.is_flag:
            parser.add_argument(*option.opts, dest=option.name, help=text, action="store_true")
            continue
        if option.name == "task":
            text = "A task of edgepipe, or optimum's name for it, e.g. text-generation-with-past.  [default: auto]"
        elif option.show_default:
            text += f"  [default: {option.default}]"
        values = option.type.choices if isinstance(option.type, click.Choice) else None
        metavar = f"{{{','.join(map(str, values))}}}" if values else option.type.name.upper()
        parser.add_argument(*option.opts, dest=option.name, help=text, metavar=metavar)


def export_and_exit(arguments: Namespace) -> NoReturn:
    """Run ``edgepipe export`` with what optimum's parser read, and leave with its exit status."""
    run_and_exit(lambda: export.main(list(_command_line(arguments)), prog_name=PROGRAM, standalone_mode=False))


def _options() -> Iterator[click.Option]:
    return (parameter for parameter in export.params if isinstance(parameter, click.Option))


def _command_line(arguments: Namespace) -> Iterator[str]:
    """The same as ``edgepipe export`` takes it; what a value means, and whether it may stand there, click decides.

    Raises:
        TaskError: the task is unknown.
        UsageError: no model is named.
    """
    if arguments.model is None and arguments.recipe_name is None:
        raise click.UsageError("give --model, or --recipe")
    given = vars(arguments) | {"task": resolve_task(arguments.task)}
    for option in _options():
        value = given[str(option.name)]
        if option.is_flag and value:
            yield option.opts[0]
        elif not option.is_flag and value is not None:
            yield f"{option.opts[0]}={value}"
    yield "--"
    yield from [arguments.model] if arguments.model is not None else []
    yield arguments.output
