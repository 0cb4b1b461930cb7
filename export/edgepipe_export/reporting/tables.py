"""Tables that become lists of cards where the screen is narrow, and stay tables for those who do not see them."""

from __future__ import annotations

from collections.abc import Sequence

from edgepipe_export.reporting.markup import Markup, element


def table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Sequence[str] = ()) -> Markup:
    """A table whose first column names each row.

    Args:
        caption: What it shows.
        headers: A header a column.
        rows: As many cells each, text or markup.
        texts: Headers of the columns that hold running text; the others hold numbers or a few words.
    """
    # CSS that lays a table out as blocks takes its meaning away unless the roles say it.
    return element(
        "table",
        element("caption", caption),
        element(
            "thead",
            element(
                "tr",
                *(element("th", header, scope="col", role="columnheader", class_=_kind(header, texts))
                  for header in headers),
                role="row",
            ),
            role="rowgroup",
        ),
        element("tbody", *(_row(headers, row, texts) for row in rows), role="rowgroup"),
        role="table",
    )  # fmt: skip


def _row(headers: Sequence[str], cells: Sequence[str], texts: Sequence[str]) -> Markup:
    first, *rest = cells
    return element(
        "tr",
        element("th", first, scope="row", role="rowheader", class_=_kind(headers[0], texts)),
        *(
            element("td", element("div", cell), role="cell", class_=_kind(header, texts), data_label=header)
            for header, cell in zip(headers[1:], rest, strict=True)
        ),
        role="row",
    )


def _kind(header: str, texts: Sequence[str]) -> str | None:
    return "text" if header in texts else None


def facts(rows: Sequence[tuple[str, str]]) -> Markup:
    """A list of names and what each is."""
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in rows), class_="facts"
    )
