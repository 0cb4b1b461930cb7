"""``edgepipe run --serve-stdin``: each line gets one line back, whatever it holds."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe import pipeline
from edgepipe.cli import line_service
from edgepipe.cli.line_service import answer_line, serve_lines
from edgepipe.cli.main import cli
from tests.runtime.small_bundle import write_bundle

COMMAND = [sys.executable, "-m", "edgepipe", "run"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("served"))


def serve(bundle: Path, *lines: bytes) -> list[dict[str, Any]]:
    answers = io.BytesIO()
    with pipeline(model=bundle) as task:
        serve_lines(task, io.BytesIO(b"".join(lines)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_answers_are_those_of_the_pipeline(bundle: Path) -> None:
    ready, text, request, several, pair = serve(
        bundle,
        b'"a b c"\n',
        b'{"id": 7, "inputs": "one two", "parameters": {"top_k": null}}\n',
        b'["a", "b"]\n',
        b'{"text": "a", "text_pair": "b"}',  # the last line need not end
    )
    with pipeline(model=bundle) as task:
        assert ready == {"ready": {"task": task.name, "dtype": "fp32", "bundle": str(bundle)}}
        assert text == {"output": task("a b c")}
        assert request == {"id": 7, "output": task("one two", top_k=None)}
        assert several == {"output": task(["a", "b"])}
        assert pair == {"output": task({"text": "a", "text_pair": "b"})}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"a b c", "the line is not JSON"),
        (b'"\xff"', "the line is not JSON"),
        (b"[" * 100_000, "the line is not JSON"),
        (b"17", "17"),
        (b'{"inputs": "a", "parameters": {"top_k": "many"}}', "top_k"),
        (b'{"inputs": "a", "parameters": {"inputs": "b"}}', "inputs stand beside parameters"),
        (b'{"inputs": "a", "parameters": [1]}', "parameters must be an object"),
        (b'{"inputs": "a", "more": 1}', "a request has id, inputs, parameters, got 'more'"),
        (b'{"inputs": "a", "parameters": {"beams": 3}}', "beams"),
    ],
    ids=["text", "encoding", "depth", "number", "option", "twice", "list", "envelope", "unknown_option"],
)
def test_what_is_wrong_is_answered_and_nothing_is_lost(bundle: Path, line: bytes, message: str) -> None:
    _, wrong, right = serve(bundle, line + b"\n", b'"a"\n')
    assert wrong["error"]["type"] == "InputError"
    assert message in wrong["error"]["message"]
    assert right["output"]


def test_the_id_comes_back_with_an_error(bundle: Path) -> None:
    with pipeline(model=bundle) as task:
        answer = answer_line(task, b'{"id": [1], "inputs": 17}')
    assert answer["id"] == [1]
    assert answer["error"]["type"] == "InputError"


def test_an_empty_line_asks_whether_somebody_reads(bundle: Path) -> None:
    assert serve(bundle, b"\n", b"  \r\n")[1:] == [{}, {}]


def test_a_line_that_is_too_long(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_service, "MOST_BYTES", 100)
    _, long, next_one = serve(bundle, b'"' + b"a " * 1000 + b'"\n', b'"a"\n')
    assert long["error"]["message"].startswith("a line may have 100 bytes")
    assert next_one["output"]


def test_a_warning_is_in_the_answer_of_its_request(bundle: Path) -> None:
    long = json.dumps("a " * 1000).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, cut, short, again = serve(bundle, long + b"\n", b'"a"\n', long)
    assert set(cut) == {"output", "warnings"}
    assert "cut" in cut["warnings"][0]
    assert again == cut
    assert "warnings" not in short


def test_vectors_are_lists(bundle: Path) -> None:
    class Task:
        def __call__(self, inputs: Any) -> Any:
            import numpy as np

            return np.array([1.0, np.nan], np.float32)

    answers = io.BytesIO()
    line_service._write(answers, answer_line(Task(), b'"a"'))
    assert answers.getvalue() == b'{"output": [1.0, null]}\n'


def test_the_command(bundle: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(bundle), "--serve-stdin", "-o", "top_k=1"],
        input=b'"a b"\n"c"\n',
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert [set(json.loads(line)) for line in done.stdout.splitlines()] == [{"ready"}, {"output"}, {"output"}]
    assert done.stderr == b""


@pytest.mark.parametrize("option", [["a text"], ["--output", "rows.csv"]], ids=["text", "output"])
def test_what_does_not_fit(bundle: Path, option: list[str]) -> None:
    done = CliRunner().invoke(cli, ["run", str(bundle), *option, "--serve-stdin"])
    assert done.exit_code == 2
    assert "--serve-stdin takes its requests from standard input" in done.output


@pytest.fixture
def served(bundle: Path) -> Any:
    with subprocess.Popen(
        [*COMMAND, str(bundle), "--serve-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        yield process
        process.kill()


def test_it_ends_at_once_where_it_waits(served: Any) -> None:
    served.stdin.write(b'"a"\n')
    served.stdin.flush()
    assert b"output" in served.stdout.readline()
    served.send_signal(signal.SIGTERM)
    assert served.wait(timeout=20) == 143


def test_what_was_begun_is_answered_before_the_end(served: Any) -> None:
    long = json.dumps(["a b c"] * 20_000).encode()
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(served.stdout.readline()))
    reader.start()
    served.stdin.write(long + b"\n")
    served.stdin.flush()
    threading.Event().wait(0.3)
    served.send_signal(signal.SIGTERM)
    reader.join(timeout=60)
    assert len(json.loads(found[0])["output"]) == 20_000
    assert served.wait(timeout=20) == 143


def test_a_caller_that_is_gone_ends_it(served: Any) -> None:
    served.stdout.close()
    served.stdin.write(b'"a"\n')
    served.stdin.flush()
    assert served.wait(timeout=20) == 0
    assert b"Traceback" not in served.stderr.read()
