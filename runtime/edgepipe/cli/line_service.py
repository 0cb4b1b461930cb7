"""A loaded pipeline behind standard input and output: a line of JSON in, a line of JSON out, one at a time.

For programs that are not Python: they start ``edgepipe run BUNDLE --serve-stdin`` once and keep it. Each line gets one
line back, in order, also one that is wrong. The next line is read when the answer before it was taken, so a caller that
is too fast waits, and memory stays bounded.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from edgepipe.bundle import strict_json
from edgepipe.bundle.integrity import parse_json
from edgepipe.errors import EdgepipeError, InputError, Terminated

# The most bytes of a line that are read: what is longer is answered by an error.
MOST_BYTES = 1 << 24

# What a request may have.
_ENVELOPE = ("id", "inputs", "parameters")


def serve_lines(task: Any, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each line until there are no more, or the process is told to end.

    The first line says that the model is loaded. An empty line is answered by ``{}``: so a watchdog learns that
    somebody reads. On SIGTERM the request that is worked on is answered before the process ends.

    Args:
        task: The pipeline.
        requests: Lines of JSON: an input of the task, or ``{"inputs": ..., "parameters": {...}, "id": ...}``.
        answers: Gets a line for each: ``{"output": ...}`` or ``{"error": {"type": ..., "message": ...}}``, with the
            request's id, if it had one, and with ``warnings``, if there are any: in a log they would be one a request.
    """
    model = task.model
    _write(answers, {"ready": {"task": task.name, "dtype": model.dtype, "bundle": str(Path(model.directory))}})
    with _end_between_requests() as waiting:
        for line in _read_lines(requests):
            with waiting():
                _write(answers, answer_line(task, line))


def answer_line(task: Any, line: bytes | None) -> dict[str, Any]:
    """What comes back for a line; None stands for one that is too long.

    Errors that are not about the request, such as a full disk, are raised.
    """
    if line is not None and not line.strip():
        return {}
    found: dict[str, Any] = {}
    try:
        value = _parse(line)
        if isinstance(value, dict) and "inputs" in value:
            if "id" in value:
                found["id"] = value["id"]
            inputs, parameters = _open_envelope(value)
        else:
            inputs, parameters = value, {}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            found |= {"output": task(inputs, **parameters)}
        said = list(dict.fromkeys(str(each.message) for each in told if issubclass(each.category, UserWarning)))
        return found | ({"warnings": said} if said else {})
    except EdgepipeError as error:
        return found | {"error": {"type": type(error).__name__, "message": str(error)}}


def _parse(line: bytes | None) -> Any:
    if line is None:
        raise InputError(f"a line may have {MOST_BYTES} bytes; send long lists in several")
    try:
        return parse_json(line.decode("utf-8"))
    except ValueError as error:
        raise InputError(f"the line is not JSON ({error}); send a text as a JSON string, in UTF-8") from error


def _open_envelope(value: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    unknown = [name for name in value if name not in _ENVELOPE]
    if unknown:
        raise InputError(f"a request has {', '.join(_ENVELOPE)}, got {', '.join(map(repr, unknown))}")
    parameters = value.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InputError(f"parameters must be an object, got {parameters!r:.80}")
    if "inputs" in parameters:
        raise InputError("inputs stand beside parameters, not among them")
    return value["inputs"], parameters


def _read_lines(requests: BinaryIO) -> Iterator[bytes | None]:
    while line := requests.readline(MOST_BYTES + 1):
        if len(line) > MOST_BYTES and not line.endswith(b"\n"):
            while (rest := requests.readline(MOST_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line


def _write(answers: BinaryIO, record: Mapping[str, Any]) -> None:
    answers.write(strict_json.dumps(record, indent=None).encode("utf-8") + b"\n")
    answers.flush()


@contextmanager
def _end_between_requests() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Have SIGTERM end the process while it waits for a line, and after the answer while it works on one.

    Raises:
        Terminated: that happened.
    """
    state = {"working": False, "ending": False}

    def end(_number: int, _frame: FrameType | None) -> None:
        state["ending"] = True
        if not state["working"]:
            raise Terminated

    @contextmanager
    def work() -> Iterator[None]:
        state["working"] = True
        try:
            yield
        finally:
            state["working"] = False
        if state["ending"]:
            raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield work
    finally:
        signal.signal(signal.SIGTERM, before)
