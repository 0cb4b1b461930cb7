"""A task over lists of inputs: a result or an error for each, and how many tokens went through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

from edgepipe.errors import EdgepipeError, InputError, NotFiniteError
from edgepipe.pipelines.base import Request, Task, list_pieces
from edgepipe.pipelines.batching import chunks
from edgepipe.pipelines.generative import GenerativeTask
from edgepipe.pipelines.sentence_embedding import Embedding, EmbeddingTask

Piece = Mapping[str, list[int]]
Key = TypeVar("Key")

# What may be wrong with one row alone. Anything else would be so for every row, and ends the work.
ROW_ERRORS = (InputError, NotFiniteError)


@dataclass(slots=True)
class Outcomes(Generic[Key]):
    """What came of a list of inputs.

    Attributes:
        key: What the list is called.
        results: A result for each input; None where there is no input, or an error.
        errors: What is wrong with an input; None where nothing is.
        tokens: How many tokens went through the model; of a task that writes text those of the prompts.
        cut: How many inputs were cut at the model's limit.
    """

    key: Key
    results: list[Any]
    errors: list[EdgepipeError | None]
    tokens: int = 0
    cut: int = 0

    @property
    def failed(self) -> int:
        """How many inputs have an error."""
        return sum(error is not None for error in self.errors)


@dataclass(frozen=True, slots=True)
class _Row:
    """An input on its way through the model."""

    place: int
    request: Request

    @property
    def pieces(self) -> Sequence[Piece]:
        return self.request.pieces


@dataclass(slots=True)
class _Chunk(Generic[Key]):
    """Rows of one list whose pieces are batched together; the last of a list has none."""

    outcomes: Outcomes[Key]
    rows: Sequence[_Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How inputs go through.

    Attributes:
        batch_size: How many pieces go through the model at once.
        fail_fast: Whether an input that cannot be used ends the work.
        locate: Says where an input is, from what its list is called and its place there.
    """

    batch_size: int = 1
    fail_fast: bool = False
    locate: Callable[[Any, int], str] = lambda key, place: f"row {place + 1}"


class RowRunner(ABC):
    """Runs a task over lists of inputs.

    Args:
        task: The pipeline, with its options.
        options: How.
    """

    def __init__(self, task: Task, options: RunOptions) -> None:
        self.task = task
        self.batch_size = options.batch_size
        self._options = options

    @abstractmethod
    def run(self, lists: Iterable[tuple[Key, Sequence[Any]]]) -> Iterator[Outcomes[Key]]:
        """The outcomes of each list, in the order of the lists.

        Args:
            lists: Each with what it is called, and its inputs; None stands for no input, an `InputError` for one that
                cannot be used. The next is read while the last one runs.

        Raises:
            EdgepipeError: what would fail for every input; with `fail_fast` what fails for one.
        """

    def _encode(self, outcomes: Outcomes[Any], inputs: Sequence[Any]) -> Iterator[_Row]:
        for place, item in enumerate(inputs):
            if item is None:
                continue
            if isinstance(item, InputError):
                if self._options.fail_fast:
                    raise item
                self._note(outcomes, place, item)
                continue
            try:
                request = self._encode_input(item)
            except ROW_ERRORS as error:
                self._note(outcomes, place, error)
                continue
            outcomes.tokens += sum(len(piece["input_ids"]) for piece in request.pieces)
            outcomes.cut += request.is_cut
            yield _Row(place, request)

    @abstractmethod
    def _encode_input(self, item: Any) -> Request: ...

    def _note(self, outcomes: Outcomes[Any], place: int, error: EdgepipeError) -> None:
        if self._options.fail_fast:
            raise InputError(f"{self._options.locate(outcomes.key, place)} has no result: {error}") from error
        outcomes.errors[place] = error.with_traceback(None)  # which would hold what was computed


class EncoderRunner(RowRunner):
    """Runs a task that reads texts; those of several lists go through the model side by side.

    Args:
        task: The pipeline, with its options.
        options: How.
        embedding: How vectors are made, where they are wanted in place of the task's results.
    """

    def __init__(self, task: Task, options: RunOptions, embedding: Embedding | None = None) -> None:
        super().__init__(task, options)
        self._embedding = embedding
        self._settings = task.settings(task.merge_options({})) if embedding is None else None
        self._run_batch: Callable[[Sequence[Piece]], Iterable[Any]] = task.run_batch
        if embedding is not None:
            assert isinstance(task, EmbeddingTask), "it made the embedding"
            self._run_batch = partial(task.embed_batch, embedding=embedding)

    def run(self, lists: Iterable[tuple[Key, Sequence[Any]]]) -> Iterator[Outcomes[Key]]:
        """See :meth:`RowRunner.run`."""
        started: deque[_Chunk[Key]] = deque()

        def read() -> Iterator[list[Piece]]:
            for key, inputs in lists:
                outcomes: Outcomes[Key] = Outcomes(key, [None] * len(inputs), [None] * len(inputs))
                for rows in chunks(self._encode(outcomes, inputs), self.batch_size, window=self.task.window):
                    started.append(_Chunk(outcomes, rows))
                    yield list_pieces(row.request for row in rows)
                started.append(_Chunk(outcomes))
                yield []

        for outputs in self.task.run_lists(self._run_each, read(), self.batch_size):
            chunk = started.popleft()
            found = iter(outputs)
            for row in chunk.rows:
                self._finish(chunk.outcomes, row, list(islice(found, len(row.pieces))))
            if not chunk.rows:
                yield chunk.outcomes

    def _run_each(self, pieces: Sequence[Piece]) -> Iterable[Any]:
        """What comes of each piece: outputs, or what is wrong with it alone."""
        try:
            return self._run_batch(pieces)
        except ROW_ERRORS as error:
            if len(pieces) == 1:
                return [error]
            return [found for piece in pieces for found in self._run_each([piece])]

    def _finish(self, outcomes: Outcomes[Any], row: _Row, outputs: Sequence[Any]) -> None:
        error = next((each for each in outputs if isinstance(each, Exception)), None)
        try:
            if error is not None:
                raise error
            outcomes.results[row.place] = (
                self.task.decode(row.request, outputs, self._settings) if self._embedding is None else outputs[0]
            )
        except ROW_ERRORS as found:
            self._note(outcomes, row.place, found)

    def _encode_input(self, item: Any) -> Request:
        if self._embedding is None:
            return self.task.encode_input(item, self._settings)
        assert isinstance(self.task, EmbeddingTask), "it made the embedding"
        return self.task.encode_texts([item], self._embedding.prompt)


class WriterRunner(RowRunner):
    """Runs a task that writes text, some inputs of one list at a time."""

    def __init__(self, task: GenerativeTask, options: RunOptions) -> None:
        super().__init__(task, options)
        self._settings = task.settings(task.merge_options({}))
        if self._settings.generation.seed is not None:  # what is drawn for an input depends on its place in a batch
            self.batch_size = 1

    def run(self, lists: Iterable[tuple[Key, Sequence[Any]]]) -> Iterator[Outcomes[Key]]:
        """See :meth:`RowRunner.run`."""
        for key, inputs in lists:
            outcomes: Outcomes[Key] = Outcomes(key, [None] * len(inputs), [None] * len(inputs))
            window = 1 if self.batch_size == 1 else self.task.window
            for rows in chunks(self._encode(outcomes, inputs), self.batch_size, window=window, whole_batches=True):
                self._write(outcomes, rows)
            yield outcomes

    def _write(self, outcomes: Outcomes[Any], rows: Sequence[_Row]) -> None:
        try:
            requests = [row.request for row in rows]
            results = list(self.task.run_requests(requests, self.batch_size, self._settings))
        except ROW_ERRORS as error:
            if len(rows) == 1:
                self._note(outcomes, rows[0].place, error)
                return
            for row in rows:
                self._write(outcomes, [row])
            return
        for row, result in zip(rows, results, strict=True):
            outcomes.results[row.place] = result

    def _encode_input(self, item: Any) -> Request:
        return self.task.encode_input(item, self._settings)


def make_runner(task: Task, options: RunOptions, embedding: Embedding | None = None) -> RowRunner:
    """The runner for a task."""
    if isinstance(task, GenerativeTask):
        return WriterRunner(task, options)
    return EncoderRunner(task, options, embedding)
