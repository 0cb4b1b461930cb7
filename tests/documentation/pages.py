"""The pages that people read, and the code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    *sorted(
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("docs", "examples")
        for path in (REPOSITORY / folder).rglob("*.md")
    ),
]

# A language, or in braces a directive with its argument.
_FENCED = re.compile(r"^```(\w*|\{[\w-]+\}[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Snippet:
    """A piece of code on a page.

    Attributes:
        page: The page's name.
        line: Where it begins.
        language: What the page says it is; "inline" within a sentence.
        code: The code.
    """

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text(page: str) -> str:
    """What a page says."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def snippets(page: str) -> list[Snippet]:
    """All code of a page, in order."""
    content = text(page)

    def found() -> Iterator[Snippet]:
        for match in _FENCED.finditer(content):
            line = content.count("\n", 0, match.start(2)) + 1
            yield Snippet(page, line, match[1], match[2])
        plain = _FENCED.sub(lambda match: "\n" * match[0].count("\n"), content)
        for match in _INLINE.finditer(plain):
            yield Snippet(page, plain.count("\n", 0, match.start()) + 1, "inline", match[1])

    return sorted(found(), key=lambda snippet: snippet.line)


def anchors(page: str) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
