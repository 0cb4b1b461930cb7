"""Warnings go to the caller's line, or to whoever collects, and to nobody else."""

from __future__ import annotations

import asyncio
import threading
import warnings

import pytest

from edgepipe.caller_warnings import collect_warnings, warn


def test_a_warning_is_python_s_own_and_names_the_caller() -> None:
    with pytest.warns(UserWarning, match="look out") as caught:
        warn("look out")
    assert [each.filename for each in caught] == [__file__]


def test_what_is_collected_is_said_nowhere_else() -> None:
    messages = ["before"]
    with warnings.catch_warnings(), collect_warnings(messages):
        warnings.simplefilter("error")
        warn("one")
        with collect_warnings(inner := []):  # type: list[str]
            warn("other")
        warn("two")
    assert (messages, inner) == (["before", "one", "two"], ["other"])
    with pytest.warns(UserWarning, match="after"):
        warn("after")
    assert messages == ["before", "one", "two"]


def test_threads_have_their_own() -> None:
    barrier, found = threading.Barrier(8), {}

    def collect(number: int) -> None:
        messages: list[str] = []
        with collect_warnings(messages):
            for turn in range(50):
                barrier.wait()
                warn(f"{number} {turn}")
        found[number] = messages

    threads = [threading.Thread(target=collect, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{number} {turn}" for turn in range(50)] for number in range(8)}


def test_tasks_and_their_threads_have_that_of_who_started_them() -> None:
    async def answer(number: int) -> list[str]:
        messages: list[str] = []
        with collect_warnings(messages):
            started = asyncio.create_task(asyncio.to_thread(warn, f"thread {number}"))
            await asyncio.sleep(0)
            warn(f"here {number}")
            await started
        return messages

    async def run() -> list[list[str]]:
        return await asyncio.gather(*map(answer, range(20)))

    for number, messages in enumerate(asyncio.run(run())):
        assert sorted(messages) == [f"here {number}", f"thread {number}"]
