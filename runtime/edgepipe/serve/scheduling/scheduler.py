"""The queue between requests and a graph that reads: who goes next, with whom, and on how many threads.

Several threads take batches from one queue and run them side by side, each on one thread of the processor. A request
that is alone has all of them. What shares a batch with what is :class:`~edgepipe.serve.scheduling.sharing.Sharing`'s.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from edgepipe.caller_warnings import collect_warnings
from edgepipe.errors import ClosedError
from edgepipe.pipelines.base import Request, Task
from edgepipe.serve.call import Call, CancelledCallError, RefusedError
from edgepipe.serve.scheduling.sharing import Sharing
from edgepipe.serve.scheduling.waiting_tokens import WaitingTokens
from edgepipe.serve.scheduling.work import Piece, Work

# How many that wait are looked at for those that share a batch with the first.
_LOOKED_AT = 64

_log = logging.getLogger("edgepipe.serve")

Answer = Callable[[Any, BaseException | None], None]


class Observer(Protocol):
    """Counts what a scheduler does."""

    def waiting(self, tokens: int) -> None:
        """So many tokens wait now."""

    def ran(self, rows: int, tokens: int, seconds: float) -> None:
        """A batch of so many rows and tokens, padding not counted, went through in so long."""

    def wrote(self, tokens: int) -> None:
        """So many new tokens were written."""

    def read(self, tokens: int, cached: int) -> None:
        """A prompt of so many tokens was read, of which so many were there from earlier ones."""

    def tell(self, message: str) -> None:
        """Something is to be known of the model."""


@dataclass(eq=False, slots=True)
class _Job:
    """One input, until its last piece is there."""

    work: Work
    request: Request
    call: Call
    answer: Answer
    missing: int
    outputs: list[Any]
    answered: bool = False


@dataclass(order=True, slots=True)
class _Entry:
    """A piece that waits, in the order in which pieces are taken."""

    priority: int
    number: int
    place: int
    job: _Job = field(compare=False)

    @property
    def piece(self) -> Piece:
        return self.job.request.pieces[self.place]

    @property
    def length(self) -> int:
        return len(self.piece["input_ids"])


class Scheduler:
    """Runs the pieces of requests through one model.

    Args:
        wide: The task on a session with all threads.
        narrow: The same on one with a thread for each run; None where that is no faster.
        sharing: Which pieces may share a batch.
        most_waiting: Tokens that may wait; beyond them requests are refused.
        observer: Is told what happens.
    """

    def __init__(
        self, wide: Task, narrow: Task | None, sharing: Sharing, most_waiting: int, observer: Observer
    ) -> None:
        self._wide, self._narrow = wide, narrow
        self._sharing = sharing
        self._observer = observer
        self._changed = threading.Condition()
        self._entries: list[_Entry] = []
        self._numbers = count()
        self._running = 0
        self._closed = False
        threads = 1 if narrow is None else sharing.side_by_side
        self._waiting = WaitingTokens(most_waiting, threads, observer)
        self._threads = [
            threading.Thread(target=self._work, name=f"edgepipe-serve-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Work, request: Request, call: Call) -> Any:
        """The result of one input.

        Raises:
            RefusedError: too much waits already, or the time was over before the input's turn came.
            EdgepipeError: what the pipeline raises.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def set_result(result: Any, error: BaseException | None) -> None:
            if future.done():  # the client is gone
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def answer(result: Any, error: BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(set_result, result, error)
            except RuntimeError:  # the loop was closed while the batch ran: nobody waits any more
                _log.debug("a result came after the server had stopped")

        self.submit(work, request, call, answer)
        try:
            return await future
        except asyncio.CancelledError:
            call.cancelled = True
            raise

    def submit(self, work: Work, request: Request, call: Call, answer: Answer) -> None:
        """Put an input into the queue; `answer` gets its result or error, from another thread.

        Raises:
            ClosedError: the model is not served any more.
            RefusedError: too much waits already.
        """
        tokens = sum(len(piece["input_ids"]) for piece in request.pieces)
        job = _Job(work, request, call, answer, len(request.pieces), [None] * len(request.pieces))
        with self._changed:
            if self._closed:
                raise ClosedError("the model is not served any more; ask again")
            self._waiting.admit(tokens)
            for place in range(len(request.pieces)):
                insort(self._entries, _Entry(call.priority, next(self._numbers), place, job))
            self._changed.notify(len(request.pieces))

    @property
    def waiting(self) -> int:
        """Tokens that wait."""
        return self._waiting.count

    def close(self) -> None:
        """Take no more; return when everything that waits has its answer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for task in (self._wide, self._narrow):
            if task is not None:
                task.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._entries and not self._closed:
                    self._changed.wait()
                if not self._entries:
                    return
                batch = self._take()
                if not batch:
                    continue
                alone = not self._running and not self._entries
                task = self._wide if alone or self._narrow is None else self._narrow
                self._running += 1
            found = self._run(task, batch)
            with self._changed:  # before the answers: who gets one may ask again at once, and is alone then
                self._running -= 1
            for entry, output in found:
                self._finish(entry, output)

    def _take(self) -> list[_Entry]:
        """The pieces that go next; none where the first of them is not wanted any more."""
        first = self._entries.pop(0)
        if not self._is_wanted(first):
            self._waiting.leave(first.length)
            return []
        batch = [first]
        most = self._sharing.count_rows(first.length)
        if most > 1:
            kind = first.job.work.kind
            near = [
                each
                for each in self._entries[:_LOOKED_AT]
                if each.job.work.kind == kind and self._sharing.may_share(first.length, each.length)
            ]
            for each in near:
                if len(batch) == most:
                    break
                if self._is_wanted(each):
                    batch.append(each)
                    self._entries.remove(each)
        self._waiting.leave(sum(each.length for each in batch))
        return batch

    def _is_wanted(self, entry: _Entry) -> bool:
        """Whether somebody waits for a piece; who waited too long is told so."""
        if entry.job.answered:
            return False
        try:
            entry.job.call.check()
        except (CancelledCallError, RefusedError) as error:
            self._answer(entry.job, None, error)
            return False
        return True

    def _run(self, task: Task, batch: Sequence[_Entry]) -> list[tuple[_Entry, Any]]:
        """What comes of each piece: an output, or an exception."""
        begin = time.perf_counter()
        try:
            outputs = batch[0].job.work.run(task, [each.piece for each in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told, and the thread goes on
            if len(batch) == 1:
                return [(batch[0], error)]
            # Who fails alone does not take the others with it.
            return [found for each in batch for found in self._run(task, [each])]
        seconds = time.perf_counter() - begin
        tokens = sum(each.length for each in batch)
        self._waiting.note_speed(tokens, seconds)
        self._observer.ran(len(batch), tokens, seconds)
        return list(zip(batch, outputs, strict=True))

    def _finish(self, entry: _Entry, output: Any) -> None:
        job = entry.job
        if isinstance(output, Exception):
            self._answer(job, None, output)
            return
        with self._changed:
            job.outputs[entry.place] = output
            job.missing -= 1
            if job.missing:
                return
        try:
            with collect_warnings(job.call.warnings):
                result = job.work.decode(job.request, job.outputs)
        except Exception as error:  # noqa: BLE001 - see _run
            self._answer(job, None, error)
        else:
            self._answer(job, result, None)

    def _answer(self, job: _Job, result: Any, error: BaseException | None) -> None:
        if not job.answered:
            job.answered = True
            job.answer(result, error)
