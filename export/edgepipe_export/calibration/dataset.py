"""What variants are measured on: inputs of the task's pipeline, and the right answers where they are known.

To read the files of another task: one entry in :data:`READERS`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe.pipelines.base import labels_of
from edgepipe.pipelines.registry import task_class
from edgepipe_export.calibration.readers import Table, read_table
from edgepipe_export.evaluation.task_inputs import asked, compared_as, shortened

if TYPE_CHECKING:
    from edgepipe_export.checkpoint.load import Loaded

BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Inputs to measure on.

    Attributes:
        inputs: What the task's pipeline is asked, one at a time.
        gold: The right answer of each, in the form that the task's figures take; None where they are not known.
        origin: The file's name, or :data:`BUILT_IN`.
        options: Options of the pipeline that go with the inputs.
        together: How many inputs that follow each other belong together: the two texts of a pair with a score.
    """

    inputs: tuple[Any, ...]
    gold: tuple[Any, ...] | None
    origin: str
    options: Mapping[str, Any] = field(default_factory=dict)
    together: int = 1

    @property
    def digest(self) -> str:
        """A digest of what they are, whatever the file is called."""
        content = repr((self.inputs, self.gold, self.options))
        return hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()

    def only(self, places: Iterable[int]) -> Calibration:
        """Some of the inputs, by their places among all."""
        chosen = tuple(places)
        gold = None if self.gold is None else tuple(self.gold[place] for place in chosen)
        return replace(self, inputs=tuple(self.inputs[place] for place in chosen), gold=gold)

    def fitted(self, tokenizer: Tokenizer, limit: int | None) -> Calibration:
        """The same with texts cut to what the model takes."""
        if limit is None:
            return self
        cut = (shortened(item, tokenizer, limit) if isinstance(item, str) else item for item in self.inputs)
        return replace(self, inputs=tuple(cut))


@dataclass(frozen=True, slots=True)
class Words:
    """The right labels of a sentence's words.

    Attributes:
        starts: Where each word starts in the text.
        tags: The label of each word, e.g. ``"B-PER"``.
    """

    starts: tuple[int, ...]
    tags: tuple[str, ...]


def read_calibration(path: str | os.PathLike[str], task: str, labels: Sequence[str], tokenizer: Any) -> Calibration:
    """Read a file for a task.

    Args:
        path: Text, CSV, TSV, JSONL or CoNLL; see :func:`~edgepipe_export.calibration.readers.read_table`.
        task: Name of the task.
        labels: The model's labels.
        tokenizer: Its tokenizer, ours or transformers'.

    Raises:
        InputError: the file cannot be read, is empty, lacks what the task needs, or has labels that the model lacks.
    """
    table = read_table(path)
    reader = _generation if task_class(task).generates else READERS[compared_as(task)]
    return reader(table, tuple(labels), tokenizer)


def calibration_of(path: Path, loaded: Loaded) -> Calibration:
    """Read a file for the task of a checkpoint; see :func:`read_calibration`."""
    labels = labels_of(loaded.model.config.to_dict())
    return read_calibration(path, loaded.checkpoint.task.name, labels, loaded.tokenizer)


def _text_classification(table: Table, labels: Sequence[str], tokenizer: Any) -> Calibration:
    inputs: tuple[Any, ...] = _texts_of(table, "text classification")
    if "text_pair" in table.roles:
        pairs = zip(inputs, _strings(table, "text_pair"), strict=True)
        inputs = tuple({"text": text, "text_pair": pair} for text, pair in pairs)
    gold = _labels_of(table, labels) if "label" in table.roles else None
    return Calibration(inputs, gold, table.origin)


def _token_classification(table: Table, labels: Sequence[str], tokenizer: Any) -> Calibration:
    if "words" not in table.roles:
        return Calibration(_texts_of(table, "token classification"), None, table.origin)
    sentences = tuple(_words(table, row, "words") for row in range(len(table.rows)))
    texts = tuple(" ".join(words) for words in sentences)
    if "tags" not in table.roles:
        return Calibration(texts, None, table.origin)
    gold = []
    for row, words in enumerate(sentences):
        tags = _words(table, row, "tags")
        if len(tags) != len(words):
            raise InputError(f"{table.where(row)}, has {len(words)} words and {len(tags)} tags")
        _check_labels(table, row, set(tags), labels)
        gold.append(Words(_starts(words), tags))
    return Calibration(texts, tuple(gold), table.origin)


def _starts(words: Sequence[str]) -> tuple[int, ...]:
    starts, position = [], 0
    for word in words:
        starts.append(position)
        position += len(word) + 1
    return tuple(starts)


def _question_answering(table: Table, labels: Sequence[str], tokenizer: Any) -> Calibration:
    _require(table, ("question", "context"), "question answering")
    questions_of, contexts = _strings(table, "question"), _strings(table, "context")
    inputs = tuple(
        {"question": question, "context": context} for question, context in zip(questions_of, contexts, strict=True)
    )
    if "answers" not in table.roles:
        return Calibration(inputs, None, table.origin)
    gold = tuple(_answers(table, row) for row in range(len(table.rows)))
    # As in SQuAD 2: where some questions have no answer, the model may say so.
    return Calibration(inputs, gold, table.origin, {} if all(gold) else {"handle_impossible_answer": True})


def _answers(table: Table, row: int) -> tuple[str, ...]:
    """The answers that are right: SQuAD's ``{"text": [...]}``, a list, or one; none where there is no answer."""
    value = table.rows[row]["answers"]
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, str):
        value = [value] if value else []
    if isinstance(value, list):
        value = [entry.get("text") if isinstance(entry, Mapping) else entry for entry in value]
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InputError(f"{table.where(row)}: answers must be a text or a list of texts, got {value!r:.60}")
    return tuple(value)


def _zero_shot(table: Table, labels: Sequence[str], tokenizer: Any) -> Calibration:
    """The labels that texts are sorted into are those in the file."""
    inputs = _texts_of(table, "zero-shot classification")
    if "label" not in table.roles:
        return Calibration(inputs, None, table.origin)
    gold = _strings(table, "label")
    return Calibration(inputs, gold, table.origin, {"candidate_labels": sorted(set(gold))})


def _fill_mask(table: Table, labels: Sequence[str], tokenizer: Any) -> Calibration:
    return Calibration(asked("fill-mask", _texts_of(table, "fill-mask"), tokenizer), None, table.origin)


def _feature_extraction(table: Table, labels: Sequence[str], tokenizer: Any) -> Calibration:
    texts = _texts_of(table, "feature extraction")
    if "text_pair" not in table.roles or "score" not in table.roles:
        return Calibration(texts, None, table.origin)
    pairs = _strings(table, "text_pair")
    try:
        scores = [float(row["score"]) for row in table.rows]
    except (TypeError, ValueError) as error:
        raise InputError(f"{table.origin}: score must be a number ({error})") from error
    # Each pair as two texts, one after the other; the first has the score, the second nothing.
    inputs = tuple(text for both in zip(texts, pairs, strict=True) for text in both)
    gold = tuple(value for score in scores for value in (score, None))
    return Calibration(inputs, gold, table.origin, together=2)


def _generation(table: Table, labels: Sequence[str], tokenizer: Any) -> Calibration:
    return Calibration(_texts_of(table, "generation"), None, table.origin)


def _texts_of(table: Table, what: str) -> tuple[str, ...]:
    if "text" not in table.roles and "words" in table.roles:
        return tuple(" ".join(_words(table, row, "words")) for row in range(len(table.rows)))
    _require(table, ("text",), what)
    return _strings(table, "text")


def _require(table: Table, roles: Sequence[str], what: str) -> None:
    missing = [role for role in roles if role not in table.roles]
    if not missing:
        return
    found = ", ".join(table.columns) or "none with a name"
    first = next((row for row, fields in enumerate(table.rows) if not set(missing) <= set(fields)), 0)
    partly = any(role in fields for role in missing for fields in table.rows)
    where = f" ({table.where(first)}, lacks it)" if partly else ""
    raise InputError(f"{what} needs the columns {', '.join(roles)}; {table.origin} has {found}{where}")


def _strings(table: Table, role: str) -> tuple[str, ...]:
    for row, fields in enumerate(table.rows):
        if not isinstance(fields[role], str):
            raise InputError(f"{table.where(row)}: {role} must be a text, got {fields[role]!r:.60}")
    return tuple(fields[role] for fields in table.rows)


def _words(table: Table, row: int, role: str) -> tuple[str, ...]:
    value = table.rows[row][role]
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InputError(f"{table.where(row)}: {role} must be a list of texts, got {value!r:.60}")
    return tuple(value)


def _labels_of(table: Table, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels as the model names them: by name, by name in another case, or all of them by number."""
    given = [str(row["label"]) for row in table.rows]
    if not set(given) <= set(labels) and all(label.isdecimal() and int(label) < len(labels) for label in given):
        return tuple(labels[int(label)] for label in given)
    folded = {label.casefold(): label for label in labels}
    if len(folded) == len(labels):
        given = [folded.get(label.casefold(), label) for label in given]
    for row, label in enumerate(given):
        _check_labels(table, row, {label}, labels)
    return tuple(given)


def _check_labels(table: Table, row: int, given: set[str], labels: Sequence[str]) -> None:
    unknown = sorted(given - set(labels))
    if unknown:
        hint = "" if table.named else "; the first line has no known column name, so it was read as data"
        raise InputError(
            f"{table.where(row)}, has the label {', '.join(unknown)}; the model has {', '.join(labels)}{hint}"
        )


READERS: dict[str, Callable[[Table, Sequence[str], Any], Calibration]] = {
    "text-classification": _text_classification,
    "token-classification": _token_classification,
    "question-answering": _question_answering,
    "zero-shot-classification": _zero_shot,
    "fill-mask": _fill_mask,
    "feature-extraction": _feature_extraction,
}
