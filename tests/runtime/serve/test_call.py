"""What headers say of a request."""

from __future__ import annotations

import time

import pytest

from edgepipe.serve.call import Call, CancelledCallError, RefusedError, read_call


def test_headers() -> None:
    call = read_call({"x-request-id": "mine", "x-priority": "High", "x-timeout-ms": "2000"}, 60)
    assert (call.request_id, call.priority) == ("mine", 0)
    assert call.deadline == pytest.approx(time.monotonic() + 2, abs=1)


def test_without_headers() -> None:
    one, other = read_call({}, None), read_call({}, 5)
    assert (one.priority, one.deadline, one.cancelled) == (1, None, False)
    assert other.deadline == pytest.approx(time.monotonic() + 5, abs=1)
    assert one.request_id != other.request_id


def test_nobody_gets_more_time_than_there_is() -> None:
    deadline = read_call({"x-timeout-ms": "99999999"}, 5).deadline
    assert deadline == pytest.approx(time.monotonic() + 5, abs=1)


def test_an_id_is_one_line_of_ascii_and_short() -> None:
    found = read_call({"x-request-id": "é\n" + "a" * 500}, None).request_id
    assert found.isascii()
    assert found.isprintable()
    assert len(found) < 140


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1e3", "²", "1" * 12])
def test_a_time_that_is_none(value: str) -> None:
    with pytest.raises(RefusedError, match="x-timeout-ms must be a whole number") as refused:
        read_call({"x-timeout-ms": value}, None)
    assert refused.value.status == 400


def test_checks() -> None:
    Call(deadline=time.monotonic() + 60).check()
    with pytest.raises(CancelledCallError):
        Call(cancelled=True).check()
    with pytest.raises(RefusedError, match="took longer than it may"):
        Call(deadline=time.monotonic() - 1).check()
