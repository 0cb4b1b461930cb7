"""What recipes are calibrated with and variants measured on: inputs of a pipeline, with the right answers if known.

How the file of each task is read is in the table of tasks, :mod:`edgepipe_export.evaluation.tasks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe_export.calibration.readers import NAMES, Table
from edgepipe_export.calibration.texts import truncate_text

BUILT_IN = "built-in"
# The option of a dataset for models that write: how many tokens follow a text.
NEW_TOKENS = "max_new_tokens"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs to measure on.

    Attributes:
        inputs: Inputs of the task's pipeline, one at a time.
        gold: The right answer of each, as the task's metric takes it; None where they are not known.
        origin: The file's name, or :data:`BUILT_IN`.
        options: Options of the pipeline that go with the inputs.
        group_size: How many inputs that follow each other belong together: the two texts of a pair with a score.
    """

    inputs: tuple[Any, ...]
    gold: tuple[Any, ...] | None
    origin: str
    options: Mapping[str, Any] = field(default_factory=dict)
    group_size: int = 1

    @property
    def digest(self) -> str:
        """A digest of what they are, whatever the file is called."""
        content = repr((self.inputs, self.gold, self.options))
        return hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()

    def select(self, indices: Iterable[int]) -> Dataset:
        """Some of the inputs."""
        chosen = tuple(indices)
        gold = None if self.gold is None else tuple(self.gold[index] for index in chosen)
        return replace(self, inputs=tuple(self.inputs[index] for index in chosen), gold=gold)

    def truncate(self, tokenizer: Tokenizer, limit: int | None) -> Dataset:
        """The same with texts cut to what the model takes."""
        if limit is None:
            return self
        cut = (truncate_text(item, tokenizer, limit) if isinstance(item, str) else item for item in self.inputs)
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


# The columns that hold a task's right answers; a file that has those of one task alone is no file of another.
_ANSWERS: dict[str, tuple[str, ...]] = {
    "text-classification": ("label",),
    "token-classification": ("tags",),
    "question-answering": ("question", "answers"),
    "sentence-similarity": ("text_pair", "score"),
    "text2text-generation": ("target",),
}
# Tasks that have answers under another task's name; any text does for embeddings, with or without a label.
_OWN = {
    "zero-shot-classification": ("text-classification",),
    "feature-extraction": ("sentence-similarity", "text-classification"),
    "sentence-similarity": ("sentence-similarity", "text-classification"),
}


def require_own_task(table: Table, task: str) -> None:
    """Refuse a file whose right answers are another task's: its texts would do, and its answers be passed over.

    Args:
        table: The file's rows.
        task: Name of a task that has right answers, in the table of tasks.

    Raises:
        InputError: it is such; the message has both tasks.
    """
    found = [name for name, columns in _ANSWERS.items() if table.roles.issuperset(columns)]
    if found and not set(found) & set(_OWN.get(task, (task,))):
        columns = [column for column in NAMES if column in table.roles]
        raise InputError(
            f"{table.origin} is for {found[0]} (it has {', '.join(columns)}), and the checkpoint is for {task}; give a "
            f"file for {task}, or one of texts alone (docs/reference/calibration.md has the columns)"
        )


def read_text_classification(table: Table, labels: Sequence[str], tokenizer: Any) -> Dataset:
    """Texts or pairs of texts, and labels."""
    inputs: tuple[Any, ...] = read_texts(table, "text classification")
    if "text_pair" in table.roles:
        pairs = zip(inputs, _read_strings(table, "text_pair"), strict=True)
        inputs = tuple({"text": text, "text_pair": pair} for text, pair in pairs)
    gold = _read_labels(table, labels) if "label" in table.roles else None
    return Dataset(inputs, gold, table.origin)


def read_token_classification(table: Table, labels: Sequence[str], tokenizer: Any) -> Dataset:
    """Texts or sentences of words, and a label for each word."""
    if "words" not in table.roles:
        return Dataset(read_texts(table, "token classification"), None, table.origin)
    sentences = tuple(_read_words(table, row, "words") for row in range(len(table.rows)))
    texts = tuple(" ".join(words) for words in sentences)
    if "tags" not in table.roles:
        return Dataset(texts, None, table.origin)
    gold = []
    for row, words in enumerate(sentences):
        tags = _read_words(table, row, "tags")
        if len(tags) != len(words):
            raise InputError(f"{table.where(row)}, has {len(words)} words and {len(tags)} tags")
        _check_labels(table, row, set(tags), labels)
        gold.append(Words(_starts(words), tags))
    return Dataset(texts, tuple(gold), table.origin)


def _starts(words: Sequence[str]) -> tuple[int, ...]:
    starts, position = [], 0
    for word in words:
        starts.append(position)
        position += len(word) + 1
    return tuple(starts)


def read_question_answering(table: Table, labels: Sequence[str], tokenizer: Any) -> Dataset:
    """Questions with their contexts, and answers."""
    _require_roles(table, ("question", "context"), "question answering")
    questions_of, contexts = _read_strings(table, "question"), _read_strings(table, "context")
    inputs = tuple(
        {"question": question, "context": context} for question, context in zip(questions_of, contexts, strict=True)
    )
    if "answers" not in table.roles:
        return Dataset(inputs, None, table.origin)
    gold = tuple(_read_answers(table, row) for row in range(len(table.rows)))
    # As in SQuAD 2: where some questions have no answer, the model may say so.
    return Dataset(inputs, gold, table.origin, {} if all(gold) else {"handle_impossible_answer": True})


def _read_answers(table: Table, row: int) -> tuple[str, ...]:
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


def read_zero_shot_classification(table: Table, labels: Sequence[str], tokenizer: Any) -> Dataset:
    """The labels that texts are sorted into are those in the file."""
    inputs = read_texts(table, "zero-shot classification")
    if "label" not in table.roles:
        return Dataset(inputs, None, table.origin)
    gold = _read_strings(table, "label")
    return Dataset(inputs, gold, table.origin, {"candidate_labels": sorted(set(gold))})


def read_feature_extraction(table: Table, labels: Sequence[str], tokenizer: Any) -> Dataset:
    """Texts, or pairs of texts with the score of their similarity."""
    texts = read_texts(table, "feature extraction")
    if "text_pair" not in table.roles or "score" not in table.roles:
        return Dataset(texts, None, table.origin)
    pairs = _read_strings(table, "text_pair")
    try:
        scores = [float(row["score"]) for row in table.rows]
    except (TypeError, ValueError) as error:
        raise InputError(f"{table.origin}: score must be a number ({error})") from error
    # Each pair as two texts, one after the other; the first has the score, the second nothing.
    inputs = tuple(text for both in zip(texts, pairs, strict=True) for text in both)
    gold = tuple(value for score in scores for value in (score, None))
    return Dataset(inputs, gold, table.origin, group_size=2)


def read_generation(table: Table, labels: Sequence[str], tokenizer: Any) -> Dataset:
    """Texts; where targets are there, as many new tokens as they have on average."""
    texts = read_texts(table, "generation")
    if "target" not in table.roles:
        return Dataset(texts, None, table.origin)
    lengths = [len(tokenizer(target)["input_ids"]) for target in _read_strings(table, "target")]
    return Dataset(texts, None, table.origin, {NEW_TOKENS: max(1, round(sum(lengths) / len(lengths)))})


def read_texts(table: Table, what: str) -> tuple[str, ...]:
    """The text of each row; `what` the task is called in messages."""
    if "text" not in table.roles and "words" in table.roles:
        return tuple(" ".join(_read_words(table, row, "words")) for row in range(len(table.rows)))
    _require_roles(table, ("text",), what)
    return _read_strings(table, "text")


def _require_roles(table: Table, roles: Sequence[str], what: str) -> None:
    missing = [role for role in roles if role not in table.roles]
    if not missing:
        return
    found = ", ".join(table.columns) or "none with a name"
    first = next((row for row, fields in enumerate(table.rows) if not set(missing) <= set(fields)), 0)
    partly = any(role in fields for role in missing for fields in table.rows)
    where = f" ({table.where(first)}, lacks it)" if partly else ""
    raise InputError(f"{what} needs the columns {', '.join(roles)}; {table.origin} has {found}{where}")


def _read_strings(table: Table, role: str) -> tuple[str, ...]:
    for row, fields in enumerate(table.rows):
        if not isinstance(fields[role], str):
            raise InputError(f"{table.where(row)}: {role} must be a text, got {fields[role]!r:.60}")
    return tuple(fields[role] for fields in table.rows)


def _read_words(table: Table, row: int, role: str) -> tuple[str, ...]:
    value = table.rows[row][role]
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InputError(f"{table.where(row)}: {role} must be a list of texts, got {value!r:.60}")
    return tuple(value)


def _read_labels(table: Table, labels: Sequence[str]) -> tuple[str, ...]:
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
