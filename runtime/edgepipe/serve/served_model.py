"""A bundle that is loaded to be served: what the protocols ask of it."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import is_whole
from edgepipe.backend.threads import available_threads
from edgepipe.bundle.directory import Bundle
from edgepipe.errors import EdgepipeError, InputError, TaskError
from edgepipe.factory import pipeline
from edgepipe.pipelines.base import Request, Task
from edgepipe.pipelines.cut_texts import asks_to_cut
from edgepipe.pipelines.generative import GenerativeTask
from edgepipe.pipelines.sentence_embedding import Embedding, EmbeddingTask, find_hidden_states
from edgepipe.serve.call import Call
from edgepipe.serve.scheduling.long_inputs import tokenize
from edgepipe.serve.scheduling.scheduler import Observer, Scheduler
from edgepipe.serve.scheduling.sharing import Sharing, measure_sharing
from edgepipe.serve.scheduling.work import make_embedding_work, make_task_work, make_tensor_work
from edgepipe.serve.settings import Limits, ServedBundle

if TYPE_CHECKING:
    from edgepipe.serve.scheduling.text_writer import TextWriter, Writing

Vector = NDArray[np.float32]


class ServedModel:
    """A bundle, loaded, with its queue.

    Attributes:
        name: By which requests ask for it.
        digest: Of the bundle; see :attr:`Bundle.digest`.
        task: Its pipeline.
        limits: What clients get.
        sharing: What shares a batch; None for a model that writes text.
    """

    def __init__(
        self, served: ServedBundle, task: Task, narrow: Task | None, limits: Limits, observer: Observer
    ) -> None:
        """Measure and begin; :func:`load_model` is for everybody else."""
        self.name = served.name
        self.task = task
        self.limits = limits
        self.digest: str = Bundle.load(task.model.directory).digest  # type: ignore[attr-defined]
        self.sharing: Sharing | None = None
        self._scheduler: Scheduler | None = None
        self._writer: TextWriter | None = None
        if isinstance(task, GenerativeTask):
            from edgepipe.serve.scheduling.text_writer import TextWriter

            self._writer = TextWriter(task, limits, observer)
        else:
            self.sharing = measure_sharing(task, narrow)
            if narrow is not None and self.sharing.side_by_side == 1:
                narrow.close()
                narrow = None
            self._scheduler = Scheduler(task, narrow, self.sharing, limits.queue, observer)

    @property
    def dtype(self) -> str:
        """The variant."""
        return self.task.model.dtype

    @property
    def generates(self) -> bool:
        """Whether it writes text."""
        return self.task.generates

    @property
    def embeds(self) -> bool:
        """Whether it makes one vector of a text: it has no head, and says how."""
        if not isinstance(self.task, EmbeddingTask):
            return False
        with suppress(EdgepipeError):
            return bool(self.task.make_embedding().modules)
        return False

    @property
    def version(self) -> str:
        """The beginning of the digest: by it two bundles of one name are told apart."""
        return self.digest[:12]

    @property
    def plan(self) -> str:
        """How requests share the model, for a log."""
        queue = self._writer or self.sharing
        assert queue is not None, "one of them was made"
        return queue.describe()

    async def run_all(self, items: Sequence[Any], options: Mapping[str, Any], call: Call) -> list[Any]:
        """What the pipeline gives for each input, the same as alone. The first error ends all.

        Args:
            items: Inputs of the task, as the pipeline takes them.
            options: The task's options.
            call: Whose request it is.

        Raises:
            InputError: an input or an option cannot be used.
            RefusedError: it is too much or too late, or too much waits.
        """
        self.limits.check_texts(len(items))
        if self._writer is not None:
            return await _gather([self._write_whole(item, options, call) for item in items])
        settings = self.task.settings(self.task.merge_options(options))
        encode = partial(self._reader(call).encode_input, settings=settings)
        requests = [await tokenize(encode, item) for item in items]
        self._check_tokens(requests)
        self._tell_of_cuts(requests, asked=asks_to_cut(self.task.merge_options(options)), call=call)
        work = make_task_work(self.task, settings)
        scheduler = self._require_scheduler()
        return await _gather([scheduler.run(work, request, call) for request in requests])

    async def embed(self, texts: Sequence[str], call: Call, **options: Any) -> tuple[list[Vector], int]:
        """The vector of each text, and how many tokens all of them have.

        Args:
            texts: The texts; those that are too long are cut, which the call's warnings say.
            call: Whose request it is.
            **options: Of :meth:`EmbeddingTask.make_embedding`.

        Returns:
            float32[dimension] each.

        Raises:
            InputError: a text or an option cannot be used.
            RefusedError: see :meth:`run_all`.
            TaskError: the bundle makes no vectors.
        """
        embedding: Embedding = self._require_embedding().make_embedding(**options)
        requests = await self._encode_texts(texts, embedding.prompt, call)
        work = make_embedding_work(embedding)
        scheduler = self._require_scheduler()
        vectors = await _gather([scheduler.run(work, request, call) for request in requests])
        return vectors, count_tokens(requests)

    async def embed_tokens(self, texts: Sequence[str], call: Call, *, prompt_name: str | None = None) -> list[Vector]:
        """The hidden states of each text's tokens, special tokens included, as :meth:`embed` cuts them.

        Returns:
            float32[tokens, hidden] each.

        Raises:
            InputError: a text or the prompt cannot be used.
            RefusedError: see :meth:`run_all`.
            TaskError: the bundle has a head.
        """
        prompt = self._require_embedding().sentence_config.prompt(name=prompt_name)
        requests = await self._encode_texts(texts, prompt, call)
        scheduler = self._require_scheduler()
        works = []
        for text, request in zip(texts, requests, strict=True):
            length = len(request.pieces[0]["input_ids"])
            if not length:
                raise InputError(f"{text!r:.60} becomes no tokens, so there is no result; leave it out")
            works.append(make_tensor_work(length, list(request.pieces[0])))
        run = zip(works, requests, strict=True)
        outputs = await _gather([scheduler.run(work, request, call) for work, request in run])
        return [find_hidden_states(each[0]) for each in outputs]

    async def run_tensors(self, arrays: Mapping[str, NDArray[Any]], call: Call) -> dict[str, NDArray[Any]]:
        """The graph's outputs for rows of token ids, each the same as of the row alone.

        Args:
            arrays: ``input_ids`` and what else the graph reads, [rows, tokens] each.
            call: Whose request it is.

        Raises:
            InputError: an array is missing, unknown, or has another shape; an id is none of the model's.
            RefusedError: see :meth:`run_all`.
            TaskError: the model writes text.
        """
        scheduler = self._require_scheduler()
        shapes = {array.shape for array in arrays.values()}
        if len(shapes) != 1 or len(shape := next(iter(shapes))) != 2 or 0 in shape:
            raise InputError(f"tensors have one shape [rows, tokens], and not none of either; got {sorted(shapes)}")
        rows, length = shape
        self.limits.check_texts(rows)
        _check_ids(arrays, self.task.model.config)
        requests = [Request([{name: array[row] for name, array in arrays.items()}]) for row in range(rows)]
        self._check_tokens(requests)
        work = make_tensor_work(length, list(arrays))
        results = await _gather([scheduler.run(work, request, call) for request in requests])
        return {name: np.stack([result[0][name] for result in results]) for name in results[0][0]}

    async def write(
        self, prompt: Any, options: Mapping[str, Any], call: Call, *, logprobs: int | None = None
    ) -> Writing:
        """Begin to write behind a prompt; what comes back is iterated over.

        Args:
            prompt: An input of the task: a text or, for ``text-generation``, a chat. Or what the task's
                ``encode_input`` made of one.
            options: The task's options.
            call: Whose request it is.
            logprobs: With how many of the best tokens at each place, and their log-probabilities; None for neither.

        Raises:
            InputError: the prompt or an option cannot be used.
            RefusedError: see :meth:`run_all`.
            TaskError: the model writes no text.
        """
        if self._writer is None:
            raise TaskError(f"{self.name} is for {self.task.name} and writes no text; ask a model that does")
        return await self._writer.start(prompt, options, call, logprobs=logprobs)

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON."""
        return {
            "name": self.name,
            "task": self.task.name,
            "dtype": self.dtype,
            "digest": self.digest,
            "device": str(self.task.device),
            "max_input_length": self.task.model.max_length,
        }

    def close(self) -> None:
        """Take no more; return when everything that waits has its answer, and the memory is free."""
        for queue in (self._scheduler, self._writer):
            if queue is not None:
                queue.close()

    async def _write_whole(self, prompt: Any, options: Mapping[str, Any], call: Call) -> Any:
        assert self._writer is not None, "asked for by who has one"
        return await self._writer.run(prompt, options, call)

    def _require_embedding(self) -> EmbeddingTask:
        if not isinstance(self.task, EmbeddingTask):
            raise TaskError(f"{self.name} is for {self.task.name} and makes no embeddings; ask a model without a head")
        return self.task

    def _reader(self, call: Call) -> Task:
        """The task, or one whose tokenizer cuts where the request wants it."""
        if call.cut_side in (None, self.task.tokenizer.truncation_side):
            return self.task
        return self._other_reader

    @cached_property
    def _other_reader(self) -> Task:
        tokenizer = self.task.tokenizer
        side: Literal["left", "right"] = "left" if tokenizer.truncation_side == "right" else "right"
        return self.task.with_tokenizer(tokenizer.with_truncation_side(side))

    async def _encode_texts(self, texts: Sequence[str], prompt: str, call: Call) -> list[Request]:
        """Token ids of texts that are to become vectors."""
        self.limits.check_texts(len(texts))
        task = self._reader(call)
        assert isinstance(task, EmbeddingTask), "the caller saw to it"
        requests = [await tokenize(lambda text: task.encode_texts([text], prompt), text) for text in texts]
        self._check_tokens(requests)
        self._tell_of_cuts(requests, asked=False, call=call)
        return requests

    def _require_scheduler(self) -> Scheduler:
        if self._scheduler is None:
            raise TaskError(f"{self.name} writes text; ask a route that does")
        return self._scheduler

    def _check_tokens(self, requests: Sequence[Request]) -> None:
        self.limits.check_tokens(count_tokens(requests))

    def _tell_of_cuts(self, requests: Sequence[Request], *, asked: bool, call: Call) -> None:
        lengths = [request.cut_at for request in requests if request.cut_at is not None]
        if lengths and not call.cuts:
            raise InputError(
                f"{len(lengths)} of {len(requests)} texts have more than {max(lengths)} tokens, which is the limit; "
                "send shorter ones, or have them cut"
            )
        if lengths and not asked:
            call.warnings.append(
                f"{len(lengths)} of {len(requests)} texts were cut at {max(lengths)} tokens, which is the limit"
            )


def load_model(served: ServedBundle, session: Mapping[str, Any], limits: Limits, observer: Observer) -> ServedModel:
    """Load a bundle, check its probes as :func:`edgepipe.pipeline` does, and warm it up.

    Args:
        served: Which.
        session: Arguments of :func:`edgepipe.pipeline`.
        limits: What clients get.
        observer: Is told what the scheduler does.

    Raises:
        EdgepipeError: it cannot be loaded, or fails its probes here.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        task = pipeline(model=served.path, **session)
        narrow = None if task.generates or not task.model.on_cpu else _load_narrow(task, session)
        model = ServedModel(served, task, narrow, limits, observer)
    for each in told:
        observer.tell(f"{served.name}: {each.message}")
    return model


def _load_narrow(task: Task, session: Mapping[str, Any]) -> Task | None:
    """The same task with one thread a run, as many runs at once as there are threads; None where there is one."""
    threads = session.get("num_threads") or available_threads()
    if threads < 2:
        return None
    directory = task.model.directory  # type: ignore[attr-defined]
    given = {**session, "dtype": task.model.dtype, "workers": threads, "num_threads": 1, "verify": "never"}
    try:
        narrow: Task = pipeline(model=directory, **{**given, "task": task.task})
    except (EdgepipeError, MemoryError):  # e.g. an engine that runs one at a time, or too little memory for a second
        return None
    return narrow


def _check_ids(arrays: Mapping[str, NDArray[Any]], config: Mapping[str, Any]) -> None:
    """Check that a client's ids are those that the model has: the graph itself would fail, or count from behind.

    Raises:
        InputError: one is not.
    """
    for name, size in (("input_ids", "vocab_size"), ("token_type_ids", "type_vocab_size")):
        count, array = config.get(size), arrays.get(name)
        if array is None or not is_whole(count):
            continue
        for found in (array.min(), array.max()):
            if not 0 <= found < count:
                raise InputError(f"{name} must be from 0 to {count - 1} for this model, got {found}")


async def _gather(coroutines: Sequence[Any]) -> list[Any]:
    """The results of all; the first error cancels the others."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def count_tokens(requests: Sequence[Request]) -> int:
    """How many tokens all pieces of requests have."""
    return sum(len(piece["input_ids"]) for request in requests for piece in request.pieces)
