"""The queue between requests and a graph that writes: requests join and leave the running batch between two tokens."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from bisect import insort
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from edgepipe.errors import ClosedError, InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.continuous_batching import ContinuousBatch, Running, Step
from edgepipe.generation.logits.constraints.constraint import GRAMMARS
from edgepipe.generation.prompt import is_cut_off, limit_new_tokens, prepare_prompt
from edgepipe.generation.search.token_choice import TokenLogprobs
from edgepipe.generation.streamer import TextStreamer
from edgepipe.pipelines.base import Request
from edgepipe.pipelines.batch_independence import shares_steps
from edgepipe.pipelines.generative import GenerativeTask, warn_of_unfinished
from edgepipe.serve.call import Call, CancelledCallError, RefusedError
from edgepipe.serve.scheduling.long_inputs import tokenize
from edgepipe.serve.scheduling.scheduler import Observer
from edgepipe.serve.scheduling.waiting_tokens import WaitingTokens
from edgepipe.serve.settings import Limits

_log = logging.getLogger("edgepipe.serve")

# An option of every call that no client may set.
_OF_THE_SERVER = "kv_cache_memory_bytes"


@dataclass(frozen=True, slots=True)
class Written:
    """A token that was written.

    Attributes:
        token_id: The token.
        text: The text that became whole with it; often none.
        finish_reason: ``"stop"``, ``"length"``, or None before the last token.
        logprobs: What the model itself thought of it, where that was asked for.
    """

    token_id: int
    text: str
    finish_reason: str | None
    logprobs: TokenLogprobs | None


@dataclass(order=True, slots=True)
class _Text:
    """A text that waits to be written, or is written."""

    priority: int
    number: int
    ids: list[int] = field(compare=False)
    config: GenerationConfig = field(compare=False)
    call: Call = field(compare=False)
    logprobs: int | None = field(compare=False)
    deliver: Callable[[Step | BaseException], None] = field(compare=False)
    is_read: bool = field(default=False, compare=False)

    @property
    def tokens(self) -> int:
        return len(self.ids) + (self.config.max_new_tokens or 0)


class Writing:
    """A text while it is written; iterated over it gives each token.

    Attributes:
        prompt_tokens: How many tokens the prompt has.
        cached_tokens: How many of them earlier prompts had read; known with the first token.
        config: The options of the search.
    """

    def __init__(
        self,
        prompt_tokens: int,
        config: GenerationConfig,
        text: TextStreamer,
        queue: asyncio.Queue[Step | BaseException],
        call: Call,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.cached_tokens = 0
        self.config = config
        self._text, self._queue, self._call = text, queue, call

    async def __aiter__(self) -> AsyncIterator[Written]:
        """Each token as soon as it is there.

        Raises:
            EdgepipeError: what ended the search.
        """
        finish = None
        try:
            while finish is None:
                step = await self._queue.get()
                if isinstance(step, BaseException):
                    raise step
                if step.token is None:
                    raise step.error or InputError("no token could be chosen")
                finish = step.finish_reason
                self.cached_tokens = step.running.cached_tokens
                text = self._text.push(step.token)
                if finish is not None:
                    text += self._text.finish()
                yield Written(step.token, text, finish, step.logprobs)
        finally:
            if finish is None:
                self._call.cancelled = True


class TextWriter:
    """Writes texts for requests, a token of each at a time.

    Args:
        task: The pipeline.
        limits: How many at once, and how many tokens may wait.
        observer: Is told what happens.
    """

    def __init__(self, task: GenerativeTask, limits: Limits, observer: Observer) -> None:
        self._task, self._limits, self._observer = task, limits, observer
        self._shares = shares_steps(task)
        self._batch = ContinuousBatch(
            task.decoder,
            task.tokenizer,
            shares_steps=self._shares,
            max_rows=limits.rows,
            prefix_bytes=limits.prefix_bytes,
            kv_cache_memory_bytes=limits.kv_cache_memory_bytes,
        )
        self._changed = threading.Condition()
        self._entries: list[_Text] = []
        self._numbers = count()
        self._waiting = WaitingTokens(limits.queue, 1, observer)
        self._closed = False
        self._alone = asyncio.Lock()
        self._count_alone = 0
        self._running: dict[Running, _Text] = {}
        self._thread = threading.Thread(target=self._work, name="edgepipe-write", daemon=True)
        self._thread.start()

    def describe(self) -> str:
        """For a log."""
        how = "steps are shared" if self._shares else "each text has steps of its own"
        return f"up to {self._limits.rows} texts at once; {how}"

    async def start(
        self, prompt: Any, options: Mapping[str, Any], call: Call, *, logprobs: int | None = None
    ) -> Writing:
        """Begin to write behind a prompt, or behind the tokens that the task has made of one already.

        Raises:
            ClosedError: the model is not served any more.
            InputError: the prompt or an option cannot be used, or there is more than one text.
            RefusedError: it asks for too much, or too much waits.
        """
        settings = await self._settings(options)
        if not _is_one_text(settings.generation):
            raise InputError(
                "a text that comes token by token is one, without beams; leave num_beams and num_return_sequences out"
            )
        writing, _ = await self._start(prompt, settings, options, call, logprobs)
        return writing

    async def run(self, prompt: Any, options: Mapping[str, Any], call: Call) -> Any:
        """What the pipeline gives for one prompt.

        Raises:
            EdgepipeError: see :meth:`start`.
        """
        settings = await self._settings(options)
        if not _is_one_text(settings.generation):
            return await self._run_alone(prompt, settings, options, call)
        writing, request = await self._start(prompt, settings, options, call, None)
        tokens = [each.token_id async for each in writing]
        decoder, config = self._task.decoder, writing.config
        if decoder.is_encoder_decoder:  # whose results have what its decoder began with
            ids = np.array([request.pieces[0]["input_ids"]], np.int64)
            tokens = prepare_prompt(decoder, ids, np.ones_like(ids), config).ids[0].tolist() + tokens
        if is_cut_off(tokens, settings.generation, config, decoder, writing.prompt_tokens):
            call.warnings.append(f"the text ends where the model's limit of {decoder.max_length} tokens is reached")
        warn_of_unfinished([tokens], config)
        outputs = {"sequences": np.array([tokens], np.int64), "padding": np.zeros(0, np.int64)}
        return self._task.decode(request, [outputs], settings)

    def close(self) -> None:
        """Take no more; return when everything that waits is written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._count_alone:
                self._changed.wait()
        self._thread.join()
        self._task.close()

    async def _run_alone(self, prompt: Any, settings: Any, options: Mapping[str, Any], call: Call) -> Any:
        """What several beams or several texts of one prompt give, which share no steps: one request after another."""
        request = await tokenize(partial(self._task.encode_input, settings=settings), prompt)
        length = len(request.pieces[0]["input_ids"])
        config = limit_new_tokens(settings.generation, self._task.decoder, length)
        rows = max(config.num_beams, config.num_return_sequences)
        tokens = rows * (length + (config.max_new_tokens or 0))
        self._limits.check_written_tokens(tokens)
        with self._changed:
            self._admit(tokens)
            self._count_alone += 1
        try:
            async with self._alone:
                with self._changed:
                    self._waiting.leave(tokens)
                tokens = 0
                call.check()
                bounded = {**options, _OF_THE_SERVER: self._limits.kv_cache_memory_bytes}
                return await asyncio.to_thread(self._task, prompt, **bounded)
        finally:
            with self._changed:
                self._waiting.leave(tokens)
                self._count_alone -= 1
                self._changed.notify_all()

    async def _start(
        self, prompt: Any, settings: Any, options: Mapping[str, Any], call: Call, logprobs: int | None
    ) -> tuple[Writing, Any]:
        encode = partial(self._task.encode_input, settings=settings)
        request = prompt if isinstance(prompt, Request) else await tokenize(encode, prompt)
        self._task.warn_of_cut(request, options)
        ids = list(request.pieces[0]["input_ids"])
        config = limit_new_tokens(settings.generation, self._task.decoder, len(ids))
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Step | BaseException] = asyncio.Queue()

        def deliver(step: Step | BaseException) -> None:
            try:
                loop.call_soon_threadsafe(queue.put_nowait, step)
            except RuntimeError:
                _log.debug("a token came after the server had stopped")

        text = _Text(call.priority, next(self._numbers), ids, config, call, logprobs, deliver)
        self._submit(text)
        streamer = TextStreamer(
            self._task.tokenizer, skip_special_tokens=settings.skip_special_tokens, clean_up=settings.clean_up
        )
        for token in self._task.shown_prompt(request):
            streamer.push(token)
        return Writing(len(ids), config, streamer, queue, call), request

    async def _settings(self, options: Mapping[str, Any]) -> Any:
        """The checked options; in a thread where a text is held to a form, which may take a while to be made ready."""
        if GRAMMARS.keys().isdisjoint(options):
            return self._read_settings(options)
        return await asyncio.to_thread(self._read_settings, options)

    def _read_settings(self, options: Mapping[str, Any]) -> Any:
        if options.get(_OF_THE_SERVER) is not None:
            raise RefusedError(400, f"{_OF_THE_SERVER} is the server's to set (--kv-cache-memory-bytes); leave it out")
        settings = self._task.settings(self._task.merge_options(options))
        config = settings.generation
        if config.num_return_sequences > self._limits.choices or config.num_beams > self._limits.choices:
            raise RefusedError(
                413, f"num_return_sequences and num_beams are at most {self._limits.choices} here; ask for fewer"
            )
        return settings

    def _submit(self, text: _Text) -> None:
        self._limits.check_written_tokens(text.tokens)
        with self._changed:
            self._admit(text.tokens)
            insort(self._entries, text)
            self._changed.notify()

    def _admit(self, tokens: int) -> None:
        """Let tokens wait; whoever calls holds the lock.

        Raises:
            ClosedError: the model is not served any more.
            RefusedError: too many wait already.
        """
        if self._closed:
            raise ClosedError("the model is not served any more; ask again")
        self._waiting.admit(tokens)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._entries and not self._running and not self._closed:
                    self._changed.wait()
                if not self._entries and not self._running:
                    return
                joining = self._take()
            for text in joining:
                self._join(text)
            self._leave()
            if self._running:
                self._step()

    def _take(self) -> list[_Text]:
        """Those that may join now."""
        room = self._limits.rows - len(self._running)
        joining, self._entries = self._entries[:room], self._entries[room:]
        if joining:
            self._waiting.leave(sum(each.tokens for each in joining))
        return joining

    def _join(self, text: _Text) -> None:
        try:
            text.call.check()
            running = self._batch.add(text.ids, text.config, logprobs=text.logprobs)
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits is told, and the others go on
            text.deliver(error)
        else:
            self._running[running] = text

    def _leave(self) -> None:
        """Those go of whom nobody takes the text any more."""
        for running, text in list(self._running.items()):
            try:
                text.call.check()
            except (CancelledCallError, RefusedError) as error:
                self._batch.remove(running)
                del self._running[running]
                text.deliver(error)

    def _step(self) -> None:
        begin = time.perf_counter()
        steps = self._batch.step()
        seconds = time.perf_counter() - begin
        for step in steps:
            text = self._running[step.running]
            text.deliver(step)
            if not text.is_read and step.token is not None:
                text.is_read = True
                self._observer.read(step.running.prompt_tokens, step.running.cached_tokens)
            if step.finish_reason is not None:
                del self._running[step.running]
        if steps:
            self._waiting.note_speed(len(steps), seconds)
            self._observer.ran(len(steps), len(steps), seconds)
            self._observer.wrote(len(steps))


def _is_one_text(config: GenerationConfig) -> bool:
    """Whether a search gives one text, token by token."""
    return config.num_beams == 1 and config.num_return_sequences == 1
