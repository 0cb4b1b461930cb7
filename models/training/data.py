"""The labelled text: one `text<TAB>label` a line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Example", "batches_by_length", "read_examples"]


@dataclass(frozen=True)
class Example:
    """A sentence and its label, 0 negative or 1 positive."""

    text: str
    label: int


def read_examples(path: Path) -> list[Example]:
    """Read a file of `text<TAB>label` lines; a text that comes twice is kept once.

    Raises:
        ValueError: If a line has no tab or a label other than 0 and 1.
    """
    examples: dict[str, Example] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text, tab, label = line.rpartition("\t")
        if not tab or label not in {"0", "1"}:
            raise ValueError(f"{path}, line {number}: expected 'text<TAB>0' or 'text<TAB>1', got {line!r}")
        examples.setdefault(text, Example(text, int(label)))
    return list(examples.values())


def batches_by_length(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Group indices of similar lengths, so that little of a batch is padding.

    Args:
        lengths: Tokens (or words, or characters) of each item.
        token_budget: The most that a batch may hold, counted as items times the longest of them. An item that
            is longer than the budget gets a batch of its own.

    Yields:
        Lists of indices, shortest items first; every index comes once.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
