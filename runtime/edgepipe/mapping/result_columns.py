"""What a task's results are as columns of Arrow: their names, their types, and the arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from edgepipe.pipelines.base import Task
from edgepipe.tables.map_rows import OUTPUT, free_name, spread_result

if TYPE_CHECKING:
    from edgepipe.pipelines.sentence_embedding import Embedding

# The column of a text's vector, and that of what is wrong with a row.
EMBEDDING, ERROR = "embedding", "error"

Fields = Mapping[str, pa.DataType]

_TEXT, _SCORE, _PLACE, _TOKEN = pa.string(), pa.float64(), pa.int64(), pa.int64()
_LABEL: Fields = {"label": _TEXT, "score": _SCORE}
_ANSWER: Fields = {"score": _SCORE, "start": _PLACE, "end": _PLACE, "answer": _TEXT}
_PROPOSAL: Fields = {"score": _SCORE, "token": _TOKEN, "token_str": _TEXT, "sequence": _TEXT}
_SPAN: Fields = {"score": _SCORE, "word": _TEXT, "start": _PLACE, "end": _PLACE}


class ResultColumns:
    """The columns that a task adds to a table.

    Attributes:
        fields: The type of each, by its name in the table.
    """

    def __init__(
        self,
        task: Task,
        schema: pa.Schema,
        column: str,
        embedding: Embedding | None = None,
        *,
        fixed_size: bool = True,
    ) -> None:
        """Find out what the columns are.

        Args:
            task: The pipeline, with its options.
            schema: Of the table, whose columns keep their names.
            column: That of the first input, by whose type a chat is told from a text.
            embedding: How vectors are made, where they are wanted in place of the task's results.
            fixed_size: Whether vectors are lists of a fixed size.
        """
        self._task = task
        self._embedding = embedding
        if embedding is not None:
            size = count_values(task, embedding) if fixed_size else -1
            types: Fields = {EMBEDDING: pa.list_(pa.float32(), size)}
        else:
            types = result_types(task, schema.field(column).type)
        names = list(schema.names)
        self._names: dict[str, str] = {}
        for key in (*types, ERROR):
            self._names[key] = free_name(key, names)
            names.append(self._names[key])
        self._types = types
        self.fields: Fields = {self._names[key]: kind for key, kind in {**types, ERROR: _TEXT}.items()}

    @property
    def error(self) -> str:
        """The name of the column that says what is wrong with a row."""
        return self._names[ERROR]

    def make_arrays(self, results: Sequence[Any], errors: Sequence[str | None]) -> list[pa.Array]:
        """The arrays of all columns, in the order of :attr:`fields`.

        Args:
            results: A result for each row; None where there is none.
            errors: What is wrong with a row; None where nothing is.
        """
        if self._embedding is not None:
            return [pa.array(results, type=self._types[EMBEDDING]), pa.array(errors, type=_TEXT)]
        cells = [None if result is None else self._spread(result) for result in results]
        return [
            *(
                pa.array([None if each is None else each[key] for each in cells], type=kind)
                for key, kind in self._types.items()
            ),
            pa.array(errors, type=_TEXT),
        ]

    def _spread(self, result: Any) -> Mapping[str, Any]:
        if OUTPUT in self._types:
            return {OUTPUT: _SHAPES.get(self._task.name, _keep)(result)}
        return spread_result(self._task, result)


def result_types(task: Task, column: pa.DataType) -> Fields:
    """The type of each column of a task's results, as :func:`spread_result` names them.

    Args:
        task: The pipeline, with its options.
        column: The type of the column with its first input.
    """
    return _TYPES.get(task.name, _hidden_states)(task, column)


def _ranked(fields: Fields) -> Callable[[Task, pa.DataType], Fields]:
    """One result, or with ``top_k`` a list of them."""

    def find(task: Task, column: pa.DataType) -> Fields:
        return fields if {"top_k", "topk"}.isdisjoint(task.options) else {OUTPUT: _list(fields)}

    return find


def _entities(task: Task, column: pa.DataType) -> Fields:
    strategy = task.options.get("aggregation_strategy") or "none"
    own = {"entity": _TEXT, "index": _PLACE} if strategy == "none" else {"entity_group": _TEXT}
    return {OUTPUT: _list({**own, **_SPAN})}


def _hidden_states(task: Task, column: pa.DataType) -> Fields:
    return {OUTPUT: pa.list_(pa.list_(pa.list_(pa.float32())))}  # [1, tokens, hidden]


def count_values(task: Any, embedding: Embedding) -> int:
    """How many values a vector has: the empty text tells."""
    return int(task.embed_batch(task.encode_texts([""], embedding.prompt).pieces, embedding).shape[1])


def _written(begin: str) -> Callable[[Task, pa.DataType], Fields]:
    """A text, its token ids, or a chat; or a list of those where several are asked for."""

    def find(task: Task, column: pa.DataType) -> Fields:
        if task.options.get("return_tensors"):
            own: Fields = {f"{begin}_token_ids": pa.list_(_TOKEN)}
        elif _is_list(column) and task.options.get("return_full_text") is not False:  # a chat comes back as one
            own = {f"{begin}_text": pa.list_(_message(column.value_type))}
        else:
            own = {f"{begin}_text": _TEXT}
        sequences = task.settings(task.merge_options({})).generation.num_return_sequences
        return own if sequences == 1 else {OUTPUT: _list(own)}

    return find


def _message(given: pa.DataType) -> pa.DataType:
    """A message of a chat: what those that are given have, and what an answer has."""
    fields = {field.name: field.type for field in given} if pa.types.is_struct(given) else {}
    return _struct({"role": _TEXT, "content": _TEXT, **fields})


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _struct(fields: Fields) -> pa.DataType:
    return pa.struct(list(fields.items()))


def _list(fields: Fields) -> pa.DataType:
    return pa.list_(_struct(fields))


def _keep(output: Any) -> Any:
    return output


def _list_answers(output: Any) -> Any:
    """One answer comes alone, whatever ``top_k`` is."""
    return [output] if isinstance(output, Mapping) else output


def _list_masks(output: Any) -> Any:
    """A list for each mask: that of a text with one mask comes without."""
    return [output] if output and isinstance(output[0], Mapping) else output


_SHAPES: Mapping[str, Callable[[Any], Any]] = {"question-answering": _list_answers, "fill-mask": _list_masks}

# By the task's name; hidden states for any other.
_TYPES: Mapping[str, Callable[[Task, pa.DataType], Fields]] = {
    "text-classification": _ranked(_LABEL),
    "question-answering": _ranked(_ANSWER),
    "token-classification": _entities,
    "fill-mask": lambda task, column: {OUTPUT: pa.list_(_list(_PROPOSAL))},
    "zero-shot-classification": lambda task, column: {"labels": pa.list_(_TEXT), "scores": pa.list_(_SCORE)},
    "sentence-similarity": lambda task, column: {OUTPUT: pa.list_(_SCORE)},
    "text-generation": _written("generated"),
    "text2text-generation": _written("generated"),
    "summarization": _written("summary"),
    "translation": _written("translation"),
}
