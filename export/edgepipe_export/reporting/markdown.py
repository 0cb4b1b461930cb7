"""A report as Markdown: the same sections and figures as the page, for terminals, issues and the summaries of CI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edgepipe_export.reporting.formatting import to_xml_text
from edgepipe_export.reporting.sections import Section
from edgepipe_export.reporting.tables import Cell, Content, PageTable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~#])")
_BLANKS = re.compile(r"\s+")
_HELD = {True: "✓ held", False: "✗ missed", None: "not measured"}


def render_markdown(title: str, summary: Sequence[str], sections: Sequence[Section], footer: str) -> str:
    """The report as GitHub's Markdown.

    Args:
        title: Its heading.
        summary: Sentences under it.
        sections: The sections.
        footer: The last paragraph.
    """
    parts = [f"# {escape_markdown(title)}", escape_markdown(" ".join(summary))]
    for section in sections:
        parts.append(f"## {escape_markdown(section.title)}")
        for block in section.blocks:
            parts += [f"### {escape_markdown(block.heading)}"] if block.heading else []
            parts += [escape_markdown(block.text)] if block.text else []
            parts += [_render_table(block.table)] if block.table is not None else []
        if section.facts:
            parts.append(
                "\n".join(f"- {escape_markdown(name)}: {escape_markdown(value)}" for name, value in section.facts)
            )
    return "\n\n".join([*parts, escape_markdown(footer)]) + "\n"


def escape_markdown(text: str) -> str:
    """A text on one line, in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", _BLANKS.sub(" ", to_xml_text(text)).strip())


def _render_table(table: PageTable) -> str:
    alignment = [
        "---" if number == 0 or header in table.text_columns else "---:" for number, header in enumerate(table.headers)
    ]
    rows = [[_render_cell(cell) for cell in row] for row in table.rows]
    lines = [" | ".join(row) for row in (list(map(escape_markdown, table.headers)), alignment, *rows)]
    return "\n".join([f"**{escape_markdown(table.caption)}**", "", *(f"| {line} |" for line in lines)])


def _render_cell(content: Content) -> str:
    if content is None or isinstance(content, bool):
        return _HELD[content]
    return " ".join(_texts(content)) if not isinstance(content, list) else "<br>".join(map(escape_markdown, content))


def _texts(content: str | Cell) -> Iterator[str]:
    if isinstance(content, str):
        yield escape_markdown(content)
        return
    for text in (content.lead, content.text, f"({content.note})" if content.note else ""):
        if text:
            yield escape_markdown(text)
