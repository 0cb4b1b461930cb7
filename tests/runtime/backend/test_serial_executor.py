"""One call at a time, in the thread it comes from or in one of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import current_thread, get_ident
from time import sleep

import pytest

from edgepipe.backend.serial_executor import SerialExecutor


@pytest.mark.parametrize("own_thread", [True, False])
def test_one_at_a_time(own_thread: bool) -> None:
    executor = SerialExecutor(own_thread=own_thread)
    inside = most = 0

    def work(number: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        sleep(0.001)
        again = executor.run(lambda: number)  # from within
        inside -= 1
        if number == 7:
            raise ValueError("seven")
        return again

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(executor.run, partial(work, number)) for number in range(20)]
    assert [each.result() for number, each in enumerate(asked) if number != 7] == [n for n in range(20) if n != 7]
    with pytest.raises(ValueError, match="seven"):
        asked[7].result()
    assert most == 1


@pytest.mark.parametrize("own_thread", [True, False])
def test_calls_are_made_where_it_was_asked_for(own_thread: bool) -> None:
    executor = SerialExecutor(own_thread=own_thread)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(lambda: (get_ident(), executor.run(get_ident))) for _ in range(12)]
    callers, found = (set(each) for each in zip(*(each.result() for each in asked), strict=True))
    if own_thread:
        assert len(found) == 1
        assert not found & callers
    else:
        assert all(caller == where for caller, where in (each.result() for each in asked))
    assert (executor.run(get_ident) == get_ident()) is not own_thread


@pytest.mark.parametrize("own_thread", [True, False])
def test_a_call_that_raises_leaves_it_free(own_thread: bool) -> None:
    executor = SerialExecutor(own_thread=own_thread)
    with pytest.raises(ZeroDivisionError):
        executor.run(lambda: executor.run(lambda: 1 // 0))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(executor.run, lambda: 7).result(timeout=10) == 7


@pytest.mark.parametrize("own_thread", [True, False])
def test_a_closed_one_has_no_thread(own_thread: bool) -> None:
    executor = SerialExecutor(own_thread=own_thread)
    thread = executor.run(current_thread)
    executor.close()
    executor.close()
    if own_thread:
        thread.join(timeout=10)
    assert thread.is_alive() is not own_thread
