"""One call at a time, in the thread it comes from or in one of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
