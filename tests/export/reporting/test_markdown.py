"""Markdown: a table a table, and nothing in a text is markup."""

from __future__ import annotations

import math

from edgepipe_export.reporting.markdown import escape_markdown, render_markdown
from edgepipe_export.reporting.sections import Block, Section
from edgepipe_export.reporting.tables import Cell, PageTable


def test_nothing_in_a_text_is_markup() -> None:
    text = "![a](b) <i> | `c` *d* _e_ &amp;\n# f\x00"
    assert escape_markdown(text) == r"!\[a\](b) \<i\> \| \`c\` \*d\* \_e\_ \&amp; \# f" + "\ufffd"


def test_sections_are_headings_tables_and_facts() -> None:
    table = PageTable(
        "Figures",
        ["Name", "Value", "Result", "Text"],
        [
            ["a|b", Cell("0.5", 0.5, note="of 2"), True, ["one", "two"]],
            [Cell("c", is_code=True), Cell("0.25", math.nan, lead="good"), None, "x"],
            ["d", Cell("1"), False, "y"],
        ],
        ["Text"],
    )
    sections = [
        Section("one", "One", (Block("int8", "A paragraph.", table=table),)),
        Section("two", "Two", facts=(("Task", "text-classification"),)),
    ]
    assert (
        render_markdown("A model", ["One.", "Two."], sections, "The end.")
        == r"""# A model

One. Two.

## One

### int8

A paragraph.

**Figures**

| Name | Value | Result | Text |
| --- | ---: | ---: | --- |
| a\|b | 0.5 (of 2) | ✓ held | one<br>two |
| c | good 0.25 | not measured | x |
| d | 1 | ✗ missed | y |

## Two

- Task: text-classification

The end.
"""
    )
