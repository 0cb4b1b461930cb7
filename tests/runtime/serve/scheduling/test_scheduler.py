"""Whatever shares a batch, each input gets what it gets alone; and who goes first, later, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import pipeline
from edgepipe.caller_warnings import warn
from edgepipe.errors import ClosedError, InputError
from edgepipe.pipelines.base import Request
from edgepipe.serve.call import PRIORITIES, Call, CancelledCallError, RefusedError
from edgepipe.serve.scheduling.scheduler import Scheduler
from edgepipe.serve.scheduling.sharing import Sharing, measure_sharing
from edgepipe.serve.scheduling.work import Work, make_task_work
from edgepipe_export import export
from tests.tiny import build

WORDS = ("the", "a", "cat", "house", "is", "was", "not", "very", "good", "bad", "in", "under", "green", "tree", "and")


class Counts:
    """What the scheduler told."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.waits: list[int] = []

    def waiting(self, tokens: int) -> None:
        self.waits.append(tokens)

    def ran(self, rows: int, tokens: int, seconds: float) -> None:
        self.rows.append(rows)

    def wrote(self, tokens: int) -> None:
        raise AssertionError("nothing is written here")

    def read(self, tokens: int, cached: int) -> None:
        raise AssertionError("nothing is written here")

    def tell(self, message: str) -> None:
        raise AssertionError(message)


class Answers:
    """Results as they come."""

    def __init__(self) -> None:
        self.found: dict[Any, Any] = {}
        self.order: list[Any] = []
        self._changed = threading.Condition()

    def take(self, key: Any) -> Any:
        def answer(result: Any, error: BaseException | None) -> None:
            with self._changed:
                self.found[key] = result if error is None else error
                self.order.append(key)
                self._changed.notify_all()

        return answer

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.order) >= count, 60), self.order


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    build("bert", directory=folder / "tiny", labels=("bad", "fair", "good"), hidden_size=64, gain=1.0)
    export(folder / "tiny", folder / "bundle", dtypes=("fp32", "int8", "w8"), verify=False, max_drop=1.0)
    return folder / "bundle"


def texts(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 30))) for _ in range(count)]


def as_scores(result: Any) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in result}


@pytest.mark.parametrize("dtype", ["fp32", "int8", "w8"])
def test_a_batch_never_changes_an_answer(folder: Path, dtype: str) -> None:
    with (
        pipeline(model=folder, dtype=dtype, verify="never") as wide,
        pipeline(model=folder, dtype=dtype, verify="never", num_threads=1, workers=2) as narrow,
    ):
        found = measure_sharing(wide, narrow)
        # What is fastest here is another question: as many share as may.
        rows = {512: 8} if found.rows else {}
        assert bool(rows) is (dtype != "int8")
        sharing, counts = Sharing(rows, found.pads, 2), Counts()
        settings = wide.settings({"top_k": None})
        items = texts(300, 1)
        alone = [wide(item, top_k=None) for item in items]
        scheduler, answers = Scheduler(wide, narrow, sharing, 1 << 20, counts), Answers()
        for number, item in enumerate(items):
            work = make_task_work(wide, settings)
            scheduler.submit(work, wide.encode_input(item, settings), Call(), answers.take(number))
        answers.wait(len(items))
        scheduler.close()
    for number, result in enumerate(alone):
        expected, got = as_scores(result), as_scores(answers.found[number])
        assert max(expected, key=expected.__getitem__) == max(got, key=got.__getitem__)
        assert got == pytest.approx(expected, abs=1e-5)
    assert sum(counts.rows) == len(items)
    assert (max(counts.rows) > 1) is (dtype != "int8")
    assert counts.waits[-1] == 0


class SlowTask:
    """A stand-in for the graph, which a test lets go on piece by piece: what is tested is who goes when."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.ran: list[list[int]] = []

    def run(self, pieces: Sequence[Any]) -> list[int]:
        self.gate.acquire()
        names = [piece["input_ids"][0] for piece in pieces]
        self.ran.append(names)
        if 666 in names:
            raise InputError("666 cannot be")
        return names

    def close(self) -> None:
        pass


WORK = Work("slow", lambda task, pieces: task.run(pieces), lambda request, outputs: list(outputs))
BROKEN = Work("slow", lambda task, pieces: task.run(pieces), lambda request, outputs: 1 / 0)


def request(*names: int, length: int = 4) -> Request:
    return Request([{"input_ids": [name] * length} for name in names])


@pytest.fixture
def slow() -> Iterator[tuple[SlowTask, Scheduler, Answers]]:
    """A scheduler whose one thread is busy with piece 0."""
    task: Any = SlowTask()
    scheduler, answers = Scheduler(task, None, Sharing({64: 4}, pads=True), 100, Counts()), Answers()
    scheduler.submit(WORK, request(0), Call(), answers.take(0))
    while scheduler.waiting:
        time.sleep(0.001)
    yield task, scheduler, answers
    for _ in range(100):
        task.gate.release()
    scheduler.close()


def go_on(task: SlowTask, answers: Answers, count: int) -> None:
    for _ in range(count + 10):
        task.gate.release()
    answers.wait(count)


def test_the_urgent_go_first_and_the_others_in_their_order(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow
    for name, priority, length in ((1, "low", 4), (2, "normal", 9), (3, "normal", 2), (4, "high", 20)):
        scheduler.submit(WORK, request(name, length=length), Call(priority=PRIORITIES[priority]), answers.take(name))
    go_on(task, answers, 5)
    assert task.ran == [[0], [4], [2], [3], [1]]


def test_pieces_of_like_length_share_a_batch(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow
    for name, length in ((1, 8), (2, 30), (3, 7), (4, 8), (5, 8), (6, 8)):
        scheduler.submit(WORK, request(name, length=length), Call(), answers.take(name))
    go_on(task, answers, 7)
    assert task.ran == [[0], [1, 3, 4, 5], [2], [6]]


def test_a_request_of_several_pieces_gets_them_in_their_order(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow
    scheduler.submit(WORK, request(1, 2, 3, 4, 5, 6), Call(), answers.take(1))
    go_on(task, answers, 2)
    assert answers.found[1] == [1, 2, 3, 4, 5, 6]


def test_one_that_fails_does_not_take_its_batch_with_it(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow
    for name in (1, 666, 3):
        scheduler.submit(WORK, request(name), Call(), answers.take(name))
    scheduler.submit(BROKEN, request(4), Call(), answers.take(4))
    go_on(task, answers, 5)
    assert (answers.found[1], answers.found[3]) == ([1], [3])
    assert isinstance(answers.found[666], InputError)
    assert isinstance(answers.found[4], ZeroDivisionError)


def test_what_decoding_warns_of_is_said_to_its_own_request(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow

    def decode(request: Request, outputs: Sequence[Any]) -> Any:
        warn(f"about {outputs[0]}")
        return outputs[0]

    calls = {name: Call() for name in (1, 2, 3)}
    work = Work("slow", WORK.run, decode)
    for name, call in calls.items():
        scheduler.submit(work, request(name), call, answers.take(name))
    go_on(task, answers, 4)
    assert {name: call.warnings for name, call in calls.items()} == {name: [f"about {name}"] for name in calls}


def test_who_is_gone_or_too_late_is_left_out(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow
    gone, late, fine = Call(), Call(deadline=time.monotonic() - 1), Call(deadline=time.monotonic() + 60)
    for name, call in ((1, gone), (2, late), (3, fine)):
        scheduler.submit(WORK, request(name), call, answers.take(name))
    gone.cancelled = True
    go_on(task, answers, 4)
    assert task.ran == [[0], [3]]
    assert isinstance(answers.found[1], CancelledCallError)
    assert isinstance(answers.found[2], RefusedError)
    assert answers.found[2].status == 504
    assert scheduler.waiting == 0


def test_the_queue_is_bounded_by_tokens(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow
    scheduler.submit(WORK, request(1, length=90), Call(), answers.take(1))
    with pytest.raises(RefusedError, match="90 tokens wait already, and the queue holds 100") as refused:
        scheduler.submit(WORK, request(2, length=11), Call(), answers.take(2))
    assert refused.value.status == 429
    assert refused.value.retry_after is not None
    go_on(task, answers, 2)
    # One alone is taken, however long it is: nothing else would ever let it in.
    scheduler.submit(WORK, request(3, length=500), Call(), answers.take(3))
    go_on(task, answers, 3)
    assert task.ran == [[0], [1], [3]]


def test_closing_answers_what_waits_and_takes_no_more(slow: tuple[SlowTask, Scheduler, Answers]) -> None:
    task, scheduler, answers = slow
    for name in (1, 2):
        scheduler.submit(WORK, request(name), Call(), answers.take(name))
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    time.sleep(0.05)
    with pytest.raises(ClosedError, match="not served any more"):
        scheduler.submit(WORK, request(3), Call(), answers.take(3))
    for _ in range(3):
        task.gate.release()
    closing.join(60)
    assert (answers.found[0], answers.found[1], answers.found[2]) == ([0], [1], [2])


def test_one_alone_has_all_threads_and_several_have_one_each() -> None:
    wide: Any
    narrow: Any
    wide, narrow = SlowTask(), SlowTask()
    scheduler, answers = Scheduler(wide, narrow, Sharing(side_by_side=2), 1000, Counts()), Answers()
    scheduler.submit(WORK, request(1), Call(), answers.take(1))
    wide.gate.release()
    answers.wait(1)
    for name in (2, 3, 4):
        scheduler.submit(WORK, request(name), Call(), answers.take(name))
    for _ in range(3):
        wide.gate.release()
        narrow.gate.release()
    answers.wait(4)
    scheduler.close()
    assert wide.ran[0] == [1]
    assert len(narrow.ran) >= 2
