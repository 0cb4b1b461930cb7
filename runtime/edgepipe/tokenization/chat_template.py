"""Chats to prompts: a tokenizer's chat template, a program in Jinja, run as transformers runs it.

A template comes with a checkpoint, so it is not trusted: it runs in Jinja's immutable sandbox and sees only plain data.
What it may use is what ``transformers.utils.chat_template_utils`` (5.23) gives it: ``raise_exception``,
``strftime_now``, ``tojson`` without HTML's escapes, ``namespace`` and ``dict``, loop controls, and the ``generation``
block, which here only marks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from edgepipe.errors import DependencyError, InputError, first_line

# Older versions have known ways out of the sandbox.
_JINJA = (3, 1, 6)
# Stands behind the message that is to be continued; what the template writes from here on is cut off.
_MARK = "CONTINUE_FINAL_MESSAGE_TAG "
# The names under which the reasoning of a message comes; templates read the first, gpt-oss's the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")


def is_message(value: Any) -> bool:
    """Whether this is a message of a chat: a dict with ``role`` and ``content``."""
    return isinstance(value, Mapping) and "role" in value and "content" in value


def select_template(templates: str | Mapping[str, str] | None, wanted: str | None, *, tools: bool) -> str:
    """The template to use: `wanted` (a name, or a template itself), with tools ``tool_use``, or the default.

    Raises:
        InputError: there is none, or none is the default.
    """
    if isinstance(templates, Mapping):
        names = [wanted] if wanted is not None else [*(["tool_use"] if tools else []), "default"]
        for name in names:
            if name in templates:
                return templates[name]
        if wanted is None:
            raise InputError(
                f"the tokenizer has several chat templates and none is the default; pass chat_template= with one of "
                f"{', '.join(sorted(templates))}"
            )
    if wanted is not None:
        return wanted
    if not isinstance(templates, str):
        raise InputError(
            "the tokenizer has no chat template: the checkpoint was not made for chats; pass a text as the prompt, or "
            "put a chat_template.jinja into the bundle"
        )
    return templates


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Any] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool | str = False,
    **variables: Any,
) -> str:
    """A chat as the text that the model was trained on.

    The arguments are those of :meth:`~edgepipe.tokenization.tokenizer.Tokenizer.apply_chat_template`.

    Raises:
        InputError: a message is no dict, the options exclude each other, or the template refuses the chat.
        DependencyError: jinja2 is missing or too old.
    """
    if not messages:
        raise InputError("the chat has no message; give at least one, {'role': 'user', 'content': ...}")
    for position, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InputError(
                f"message {position} of the chat is {message!r:.60}, expected a dict with 'role' and 'content'"
            )
    if continue_final_message and add_generation_prompt:
        raise InputError(
            "add_generation_prompt and continue_final_message exclude each other: the one begins an answer, the other "
            "goes on with the last message"
        )
    for tool in tools or ():
        if not isinstance(tool, Mapping):
            raise InputError(f"a tool is {tool!r:.60}, expected its JSON schema as a dict")
    for document in documents or ():
        if not isinstance(document, Mapping):
            raise InputError(f"a document is {document!r:.60}, expected a dict with 'title' and 'text'")
    # Some services give None for what a message does not have; templates know a missing key.
    chat = [_to_plain({key: value for key, value in message.items() if value is not None}) for message in messages]
    chat = [_with_reasoning(message) for message in chat]
    field = continue_final_message if isinstance(continue_final_message, str) else "content"
    last = _mark_end(chat[-1], field, template) if continue_final_message else ""
    compiled = _compile(template)
    from edgepipe.tokenization.bounded_template import BUDGET, Budget

    given = {"messages": chat, "tools": _to_plain(tools), "documents": _to_plain(documents)} | _to_plain(variables)
    token = BUDGET.set(Budget(given, len(chat)))
    try:
        text: str = compiled.render(add_generation_prompt=add_generation_prompt, **given)
    except Exception as error:  # a stranger's program raises what it likes
        raise InputError(f"the chat template does not take this chat: {error}") from error
    finally:
        BUDGET.reset(token)
    return _cut_at_mark(text, last) if continue_final_message else text


def _mark_end(message: dict[str, Any], field: str, template: str) -> str:
    """Put the mark behind what is to be continued, and give that."""
    final = message.get(field)
    if final is None:
        raise InputError(f"the last message has no {field!r} to continue; it has {', '.join(map(repr, message))}")
    fields = [name for name in _REASONING if message.get(name) == final] if field in _REASONING else [field]
    if not any(name in template for name in fields):
        raise InputError(f"continue_final_message is {field!r}, which the chat template does not read")
    if isinstance(final, list | tuple):
        for block in reversed(final):
            if "text" in block:
                before = str(block["text"])
                block["text"] = before + _MARK
                return before
        raise InputError("the last message has no text to continue")
    for name in fields:
        message[name] = final + _MARK
    return str(final)


def _cut_at_mark(text: str, last: str) -> str:
    if last.strip() not in text or _MARK.strip() not in text:
        raise InputError("the chat template leaves out the end of the last message, so the model cannot continue it")
    place = text.rindex(_MARK.strip())
    # Where the template took the mark's blank away it trims messages, and the message's own end with it.
    return text[:place] if text[place : place + len(_MARK)] == _MARK else text[:place].rstrip()


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    reasoning = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _to_plain(value: Any) -> Any:
    """The same value in plain types alone; anything else, e.g. an image, becomes its type's name."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # an enumeration's own text could be another
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {_to_plain(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_to_plain(item) for item in value]
        return tuple(items) if type(value) is tuple else items
    if isinstance(value, np.generic):
        return _to_plain(value.item())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return f"<{type(value).__name__}>"


@lru_cache(maxsize=8)
def _compile(template: str) -> Any:
    try:
        import jinja2
        from jinja2 import nodes
        from jinja2.exceptions import SecurityError, TemplateError
        from jinja2.ext import Extension, loopcontrols
        from jinja2.utils import Namespace
    except ImportError as error:
        raise DependencyError(
            "chats need jinja2, which is not installed; pip install 'edgepipe[chat]', or pass a text as the prompt"
        ) from error
    if tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit()) < _JINJA:
        wanted = ".".join(map(str, _JINJA))
        raise DependencyError(
            f"chat templates need jinja2 {wanted} or newer, whose sandbox holds, not {jinja2.__version__}; "
            "pip install -U jinja2"
        )

    from edgepipe.tokenization.bounded_template import LONGEST_TEMPLATE, BoundedEnvironment

    if len(template) > LONGEST_TEMPLATE:
        raise InputError(f"the chat template has {len(template):,} characters, more than {LONGEST_TEMPLATE:,}")

    class GenerationTag(Extension):
        """``{% generation %}`` marks what the model wrote, which is of use in training only."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    class GuardedNamespace(Namespace):
        """A namespace without underscored names, which are a way to Python's insides."""

        def __init__(*arguments: Any, **attributes: Any) -> None:  # so that namespace(self=...) works
            self, *rest = arguments
            wanted = dict(*rest, **attributes)
            for name in wanted:
                _refuse_underscore(name)
            Namespace.__init__(self, wanted)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_underscore(name)
            super().__setitem__(name, value)

    class GuardedDict:
        """``dict`` as a function, without the class's attributes."""

        def __call__(self, *arguments: Any, **entries: Any) -> dict[Any, Any]:
            return dict(*arguments, **entries)

        def fromkeys(self, *arguments: Any) -> dict[Any, Any]:
            return dict.fromkeys(*arguments)

    def _refuse_underscore(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a chat template may not store {name!r} on a namespace")

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = BoundedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.guard_filters()
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": GuardedDict(),
        "namespace": GuardedNamespace,
    }
    try:
        return environment.from_string(template)
    except Exception as error:  # Jinja's own, or Python's where blocks are within each other too often
        raise InputError(
            f"the chat template is no valid Jinja ({first_line(error)}); mend it, or pass chat_template="
        ) from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
