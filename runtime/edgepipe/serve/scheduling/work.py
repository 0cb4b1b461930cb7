"""What is to be done with an input between its tokens and its result."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from edgepipe.pipelines.base import Request, Task
from edgepipe.pipelines.sentence_embedding import Embedding, EmbeddingTask

Piece = Mapping[str, list[int]]


@dataclass(frozen=True, slots=True)
class Work:
    """What pieces of a request go through.

    Attributes:
        kind: Pieces of one kind may share a batch.
        run: Gives something for each of some pieces that go through the graph of a task at once.
        decode: The result of a request, from what its pieces gave.
    """

    kind: Hashable
    run: Callable[[Any, Sequence[Piece]], Sequence[Any]]
    decode: Callable[[Request, Sequence[Any]], Any]


def make_task_work(task: Task, settings: Any) -> Work:
    """The work for a result of the task's pipeline, with checked options."""
    return Work("task", _run_task, lambda request, outputs: task.decode(request, outputs, settings))


def make_embedding_work(embedding: Embedding) -> Work:
    """The work for a text's vector, float32[dimension]."""
    kind = (embedding.prompt_length, tuple(map(id, embedding.modules)), embedding.truncate_dim, embedding.normalize)
    return Work(kind, partial(_run_embedding, embedding=embedding), lambda request, vectors: vectors[0])


def make_tensor_work(length: int, names: Sequence[str]) -> Work:
    """The work for rows of tensors that the graph reads as they are: its outputs, by name, for each row.

    Args:
        length: Tokens of each row; rows of one length may share a batch.
        names: What each row has beside ``input_ids``.
    """
    return Work(("tensors", length, tuple(sorted(names))), _run_tensors, lambda request, outputs: outputs)


def _run_tensors(task: Any, pieces: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
    arrays = {name: np.stack([piece[name] for piece in pieces]) for name in pieces[0]}
    outputs = task.model(**arrays)
    own = {name: array for name, array in outputs.items() if np.shape(array)[:1] == (len(pieces),)}
    return [{name: array[row] for name, array in own.items()} for row in range(len(pieces))]


def _run_task(task: Task, pieces: Sequence[Piece]) -> Sequence[Any]:
    return task.run_batch(pieces)


def _run_embedding(task: EmbeddingTask, pieces: Sequence[Piece], embedding: Embedding) -> Sequence[Any]:
    return list(task.embed_batch(pieces, embedding))
