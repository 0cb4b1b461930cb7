"""Calls of tools in a text, while it is written: what is text, and what is a call.

Two readers give the same events. One is for answers that are held to be a call, which it gives piece by piece. The
other is for answers that may be text or calls: a call is one where it is whole, in the form of the model's template, to
a function that there is. Anything else stays text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from edgepipe.serve.protocols.openai.tool_call_form import CallForm

_BLANKS = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Event:
    """A part of an answer: text, or a part of a call.

    Attributes:
        text: What comes next of the text, or of the arguments.
        call: Which call it belongs to; None for text.
        name: The function's name, with which a call begins.
        call_id: The call's id, likewise.
    """

    text: str
    call: int | None = None
    name: str | None = None
    call_id: str | None = None


class AnswerReader(Protocol):
    """Takes an answer apart.

    Attributes:
        calls: How many calls have begun.
    """

    calls: int

    def push(self, text: str, *, is_last: bool) -> list[Event]:
        """What is known after more of the text."""
        ...


class ForcedCallReader:
    """Reads an answer that is held to be one call: its name as soon as it is there, then its arguments as they come."""

    def __init__(self, form: CallForm) -> None:
        self.calls = 0
        text = r'"(?:[^"\\]|\\.)*"'
        self._head = re.compile(
            rf"[\[\s]*\{{\s*{re.escape(json.dumps(form.name))}\s*:\s*(?P<name>{text})\s*,"
            rf"\s*{re.escape(json.dumps(form.arguments))}\s*:\s*(?=\{{)"
        )
        self._held = ""
        self._end = JsonEnd()

    def push(self, text: str, *, is_last: bool) -> list[Event]:
        """See :class:`AnswerReader`; what is cut off stays so."""
        if self._end.is_found:
            return []
        events = []
        if not self.calls:
            self._held += text
            head = self._head.match(self._held)
            if head is None:
                return []
            self.calls = 1
            events.append(Event("", 0, json.loads(head["name"]), make_call_id()))
            text = self._held[head.end() :]
        stop = self._end.push(text)
        part = text if stop is None else text[:stop]
        return [*events, Event(part, 0)] if part else events


class _CallFinder:
    """What both kinds of answers share that may be text or calls.

    Args:
        form: Of a call.
        names: The functions that there are.
        most: How many calls are given; None for all.
    """

    def __init__(self, form: CallForm, names: Collection[str], *, most: int | None = None) -> None:
        self.calls = 0
        self._form, self._names, self._most = form, names, most
        self._held = ""

    def _add(self, text: str, events: list[Event]) -> bool:
        """Add the events of calls; False where a text is none."""
        found = read_calls(text, self._form, self._names)
        for name, arguments in found or ():
            if self._most is None or self.calls < self._most:
                events += [Event("", self.calls, name, make_call_id()), Event(arguments, self.calls)]
                self.calls += 1
        return found is not None


class WholeCallFinder(_CallFinder):
    """Reads an answer that is a call as a whole, or a list of calls, or text: as Llama 3 and Mistral write calls."""

    def __init__(self, form: CallForm, names: Collection[str], *, most: int | None = None) -> None:
        """Begin; see :func:`find_calls`."""
        super().__init__(form, names, most=most)
        self._is_text = False

    def push(self, text: str, *, is_last: bool) -> list[Event]:
        """See :class:`AnswerReader`; what begins as a call is held back until the answer's end."""
        self._held += text
        begin = self._held.lstrip(_BLANKS)[:1]
        self._is_text |= begin not in ("", "[" if self._form.is_list else "{")
        if not (self._is_text or is_last):
            return []
        held, self._held = self._held, ""
        events: list[Event] = []
        if not self._is_text and self._add(held.strip(_BLANKS).removesuffix(self._form.end), events):
            return events
        return [Event(held)] if held else []


class TaggedCallFinder(_CallFinder):
    """Reads an answer with calls between tags, and text around them: as Hermes and Qwen write calls."""

    def __init__(self, form: CallForm, names: Collection[str], *, most: int | None = None) -> None:
        """Begin; see :func:`find_calls`."""
        super().__init__(form, names, most=most)
        # What stands behind a tag; None outside.
        self._call: str | None = None
        self._end = JsonEnd()
        self._stop: int | None = None

    def push(self, text: str, *, is_last: bool) -> list[Event]:
        """See :class:`AnswerReader`; what may be a call is held back until it is one, or is none."""
        events: list[Event] = []
        while True:
            if self._call is None:
                self._held += text
                events += self._show_text(is_last=is_last)
                if self._call is None:
                    return [each for each in events if each.text or each.name]
                text, self._call = self._call, ""
            if self._stop is None:
                stop = self._end.push(text)
                self._stop = None if stop is None else len(self._call) + stop
            self._call += text
            if self._is_open() and not is_last:
                return [each for each in events if each.text or each.name]
            text = self._close(events)

    def _show_text(self, *, is_last: bool) -> list[Event]:
        """The text that is none of a call's; a tag is taken away, and the call begins."""
        before, tag, behind = self._held.partition(self._form.tag)
        if tag:
            text = before.rstrip(_BLANKS)
            self._held = before[len(text) :]
            self._call, self._end, self._stop = behind, JsonEnd(), None
            return [Event(text)]
        if is_last:
            text, self._held = self._held, ""
            return [] if self.calls and not text.strip(_BLANKS) else [Event(text)]
        text = self._held[: len(self._held) - count_held(self._held, self._form.tag)].rstrip(_BLANKS)
        self._held = self._held[len(text) :]
        return [Event(text)]

    def _is_open(self) -> bool:
        """Whether what stands behind the tag can still become a call."""
        assert self._call is not None, "asked within a call"
        if self._stop is None:
            return self._call.lstrip(_BLANKS)[:1] in ("", "{", "[")
        behind = self._call[self._stop :].lstrip(_BLANKS)
        return len(behind) < len(self._form.end) and self._form.end.startswith(behind)

    def _close(self, events: list[Event]) -> str:
        """Add the call's events, or those of what looked like one; gives the text that follows."""
        assert self._call is not None, "asked within a call"
        call, self._call = self._call, None
        blanks, self._held = self._held, ""
        if self._stop is not None:
            behind = call[self._stop :].lstrip(_BLANKS)
            if behind.startswith(self._form.end) and self._add(call[: self._stop], events):
                return behind[len(self._form.end) :]
        events.append(Event(blanks + self._form.tag))
        return call


def find_calls(form: CallForm, names: Collection[str], *, most: int | None = None) -> AnswerReader:
    """A reader of an answer that may be text or calls.

    Args:
        form: Of a call.
        names: The functions that there are.
        most: How many calls are given; None for all.
    """
    kind = TaggedCallFinder if form.tag else WholeCallFinder
    return kind(form, names, most=most)


def read_calls(text: str, form: CallForm, names: Collection[str]) -> list[tuple[str, str]] | None:
    """The names and arguments of calls; None where the text is not that."""
    try:
        value: Any = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    records = value if form.is_list and isinstance(value, list) else [value]
    found = []
    for record in records:
        if not isinstance(record, dict) or not {form.name, form.arguments} <= record.keys() <= form.keys:
            return None
        name, arguments = record[form.name], record[form.arguments]
        if not isinstance(name, str) or name not in names or not isinstance(arguments, dict):
            return None
        found.append((name, _write_json(arguments)))
    return found or None


def _write_json(value: Any) -> str:
    """JSON as readable as it can be sent: halves of characters, which escapes can stand for, stay escapes."""
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if any("\ud800" <= sign <= "\udfff" for sign in text) else text


class JsonEnd:
    """Finds the end of a JSON object or list in a text that comes in pieces.

    Attributes:
        is_found: Whether it was there.
    """

    def __init__(self) -> None:
        self.is_found = False
        self._depth = 0
        self._in_text = self._is_escaped = False

    def push(self, text: str) -> int | None:
        """Where it ends in this piece, behind its last bracket; None where it does not, or nothing begins."""
        for place, sign in enumerate(text):
            if self._in_text:
                if self._is_escaped:
                    self._is_escaped = False
                elif sign == "\\":
                    self._is_escaped = True
                elif sign == '"':
                    self._in_text = False
            elif sign == '"':
                self._in_text = True
            elif sign in "{[":
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self.is_found = True
                    return place + 1
        return None


def count_held(text: str, tag: str) -> int:
    """How many of the last characters are the beginning of a tag."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)


def make_call_id() -> str:
    """An id of nine letters and digits: Mistral's templates take no other, and others take any."""
    return secrets.token_hex(5)[:9]


def _refuse_constant(name: str) -> None:
    """Take no NaN and no infinity, which Python's reader would."""
    raise ValueError
