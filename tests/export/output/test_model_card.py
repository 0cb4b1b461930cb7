"""The bundle's model card carries what the checkpoint's own card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import markdown_it
import pytest

from edgepipe.bundle.manifest import Manifest, Source
from edgepipe_export.output.model_card import SourceCard, read_source_card, render_model_card

MANIFEST = Manifest(
    task="text-classification",
    source=Source("owner/name", "abc", "BertForSequenceClassification"),
    versions={"torch": "2"},
    machine="somewhere",
    max_length=8,
    max_length_source="probed",
    labels=("A", "B"),
    default_dtype="fp32",
    variants={},
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("---\nlicense: mit\n---\n# Title\n\nGood at this.\n", SourceCard("mit", "# Title\n\nGood at this.")),
        ("---\nlanguage: en\n---\nText.", SourceCard(None, "Text.")),
        ("No header.\n", SourceCard(None, "No header.")),
    ],
)
def test_source_card_is_split_into_license_and_text(tmp_path: Path, content: str, expected: SourceCard) -> None:
    (tmp_path / "README.md").write_text(content)
    assert read_source_card(tmp_path) == expected


def test_no_card_is_an_empty_card(tmp_path: Path) -> None:
    assert read_source_card(tmp_path) == read_source_card(None) == SourceCard()


def test_card_names_license_and_base_model_and_ends_with_the_source_s_text() -> None:
    card = render_model_card(MANIFEST, SourceCard("mit", "Good at this."))
    assert '\nlicense: "mit"\n' in card
    assert '\nbase_model: "owner/name"\n' in card
    assert card.endswith("# The card of `owner/name`\n\nGood at this.\n")


def test_card_without_source_card_has_no_empty_section() -> None:
    assert "The card of" not in render_model_card(MANIFEST, SourceCard())


MARKUP = [
    "<script>alert(1)</script>",
    "`]( javascript:alert(1) ) ``",
    "a\n\n# A heading\n\n[here](http://evil)",
    "\x1b[2Jclean\u202e",
    "| a | b |",
    "",
]


@pytest.mark.parametrize("name", MARKUP)
def test_names_of_strangers_are_no_markup(name: str) -> None:
    source = Source(name, name, name)
    card = render_model_card(replace(MANIFEST, source=source, labels=(name, "B")), SourceCard())
    _, _, body = card.partition("\n---\n\n")
    shown = markdown_it.MarkdownIt("commonmark").parse(body)
    inline = [child for token in shown for child in token.children or ()]
    code = " ".join(name.split()).replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert sum(each.type == "code_inline" and each.content.strip() == code for each in inline) >= 5 or not name
    assert {each.type for each in inline} <= {"text", "code_inline", "link_open", "link_close", "softbreak"}
    assert {token.type for token in shown} & {"html_block"} == set()
    links = [each.attrs["href"] for each in inline if each.type == "link_open"]
    assert links == [link for link in links if link.startswith(("https://pypi.org/", "https://huggingface.co/docs/"))]
    assert all(character in "\n\t" or character.isprintable() for character in card)


def test_controls_in_the_source_s_card_are_shown(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Good.\x1b]0;title\x07\n")
    assert read_source_card(tmp_path).text == "Good.\\x1b]0;title\\x07"
