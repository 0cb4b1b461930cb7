"""The trace of a request, and the form of a line."""

from __future__ import annotations

import json
import logging

import pytest

from edgepipe.serve.observability.request_log import JsonFormatter, read_trace

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_trace_goes_on_with_an_id_of_its_own() -> None:
    found = read_trace({"headers": [(b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())]})
    assert found is not None
    assert (found[0], found[2]) == (TRACE, "01")
    assert len(found[1]) == 16
    assert found[1] != "b7ad6b7169203331"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
    ],
    ids=["empty", "short", "version_ff", "no_trace", "no_parent", "upper_case"],
)
def test_what_is_no_trace(value: str) -> None:
    assert read_trace({"headers": [(b"traceparent", value.encode())]}) is None
    assert read_trace({"headers": []}) is None


def test_a_line_is_json_without_control_characters() -> None:
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "a\x1b[31m %s", ("b",), None)
    record.record = {"status": 200}
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["status"]) == ("error", "a\\x1b[31m b", 200)
