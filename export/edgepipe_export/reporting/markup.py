"""Elements of a page, escaped unless they are markup already; what comes out is HTML and well-formed XML."""

from __future__ import annotations

import re
from html import escape

# XML has no way to write these: control characters, halves of surrogate pairs, and two that are no characters.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

_VOID = {"meta", "br"}


class Markup(str):
    """Text that is markup: it is not escaped again."""

    __slots__ = ()


def element(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        name: Its tag.
        *children: Text, which is escaped, or markup, which is not; None is left out.
        **attributes: By name, with ``_`` for ``-``, and one at the end where the name is a word of Python's; None is
            left out.
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{named} />")
    return Markup(f"<{name}{named}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Text and markup one after the other, the text escaped."""
    return Markup("".join(child if isinstance(child, Markup) else _escaped(child) for child in children if child))


def _escaped(text: str) -> str:
    return escape(_UNWRITABLE.sub("\ufffd", text))
