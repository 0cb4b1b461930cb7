"""docs/how-to/troubleshooting.md has an entry for every message that the product can give."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.documentation.messages import HOLE, Message, collect_messages
from tests.documentation.pages import text

PAGE = "docs/how-to/troubleshooting.md"

# Words of somebody else; or what is caught and becomes another message of ours.
EXPLAINED = {
    ("runtime/edgepipe/pipelines/base.py", "input …: …"): "the message of an input of a list, behind its position",
    ("runtime/edgepipe/cli/commands/export.py", "…"): "the message of edgepipe_models.recipe, which is collected there",
    ("runtime/edgepipe/cli/main.py", "…"): "click asks the table of commands, and says it in its own words",
    ("runtime/edgepipe/tokenization/chat_template.py", "…"): "what a chat template says; ours begins with its cause",
    ("runtime/edgepipe/embeddings/modules.py", "…: …"): "the message of check_modes, behind the file's name",
    ("export/edgepipe_export/exporter.py", "…: …"): "the message of check_labels, behind the checkpoint's name",
    (
        "runtime/edgepipe/serve/protocols/openai/openai_errors.py",
        "…",
    ): "the message of the error that gets a code and a field",
    ("runtime/edgepipe/bundle/manifest.py", "… is …"): "the end of '… is damaged: …'",
    ("export/edgepipe_export/output/progress.py", "stopped"): "the line of a stage that an error or Ctrl-C ended",
    ("export/edgepipe_export/output/progress.py", "… s"): "the line of a stage that is over",
    ("runtime/edgepipe/serve/endpoint.py", "… cannot be written as JSON"): "msgspec asks, and says it in its own words",
    ("export/edgepipe_export/output/cache.py", "… is damaged"): "a record that cannot be read is made again",
}

_PATTERN = re.compile(r"^- `(.+)`$", re.MULTILINE)
_ENTRY = re.compile(r"^### (.+)\n((?:(?!^##).*\n?)*)", re.MULTILINE)
# A pattern that says less than this would cover what it does not explain.
_FEWEST_LETTERS = 8


@dataclass(frozen=True)
class Entry:
    """An entry of the page: a heading, patterns of messages, and what to do."""

    heading: str
    body: str

    @property
    def patterns(self) -> list[str]:
        return _PATTERN.findall(self.body)

    @property
    def explanation(self) -> str:
        return _PATTERN.sub("", self.body).strip()


def entries() -> list[Entry]:
    return [Entry(*found) for found in _ENTRY.findall(text(PAGE))]


def patterns() -> list[str]:
    return _PATTERN.findall(text(PAGE))


def covers(pattern: str, message: str) -> bool:
    literal = ".*".join(map(re.escape, pattern.split(HOLE)))
    return re.fullmatch(literal, message.replace("...", HOLE), re.DOTALL) is not None


def messages() -> list[Message]:
    return [found for found in collect_messages() if (found.path, found.text) not in EXPLAINED]


def test_every_message_has_an_entry() -> None:
    told = patterns()
    missing = [str(found) for found in messages() if not any(covers(pattern, found.text) for pattern in told)]
    assert not missing, "\n".join([f"{PAGE} has no entry for:", *missing])


def test_the_source_tells_every_message() -> None:
    unknown = [str(found) for found in messages() if not found.is_known]
    assert not unknown, f"tests/documentation/messages.py cannot read: {unknown}"


def test_many_messages_are_collected() -> None:
    kinds = {found.kind for found in messages()}
    assert {"InputError", "BundleError", "DeviceError", "ParityError", "UsageError", "warning", "note"} <= kinds
    texts = [found.text for found in messages()]
    # In a variable, in a loop over rows, in a function that another calls, and in a property.
    for part in (
        "no other variant can run",
        "contradicts num_beam_groups=1",
        "it is a link to",
        "too few to spare any",
    ):
        assert any(part in each for each in texts), part


def test_what_is_explained_is_there() -> None:
    assert set(EXPLAINED) <= {(found.path, found.text) for found in collect_messages()}


@pytest.mark.parametrize("pattern", patterns())
def test_every_pattern_is_one_of_a_message(pattern: str) -> None:
    assert any(covers(pattern, found.text) for found in messages()), f"{PAGE}: no message is like {pattern!r}"
    assert sum(map(str.isalpha, pattern)) >= _FEWEST_LETTERS, f"{pattern!r} says too little"


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.heading)
def test_every_entry_says_what_to_do(entry: Entry) -> None:
    assert entry.patterns, f"{entry.heading}: no message"
    assert entry.explanation, f"{entry.heading}: no explanation"
