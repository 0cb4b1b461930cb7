"""The tutorial, command by command: as a reader does it, in a folder like that of a checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation.pages import REPOSITORY, Snippet, snippets, text

PAGE = "docs/tutorial/from-fine-tuning-to-a-board.md"
SAVED = re.compile(r"Save this as `([\w.]+)`:\n\n```python\n")
ANSWER = re.compile(r'^classify\("(?P<text>.*)"\)  # \[\{"label": "(?P<label>\w+)"', re.MULTILINE)


class Reader:
    """Somebody who does what the page says.

    Attributes:
        folder: Where they are.
        printed: What each command printed, by command.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: dict[str, str] = {}
        # One thread: with more, threads that wait for each other take long where other tests run beside.
        self._environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), OMP_NUM_THREADS="1")

    def forget_torch(self, stubs: Path) -> None:
        """From now on nothing of the exporter's can be imported, as on a board."""
        for name in ("torch", "transformers", "onnx"):
            (stubs / f"{name}.py").write_text("raise ImportError('this is a board')\n", encoding="utf-8")
        self._environment["PYTHONPATH"] = os.pathsep.join([str(stubs), self._environment["PYTHONPATH"]])

    def run(self, command: str) -> None:
        """Run a line of shell; `cd` moves, and packages are there already."""
        program, *arguments = command.split()
        if program == "cd":
            self.folder = self.folder / arguments[0]
        elif program != "pip":
            done = subprocess.run(self._line(command), shell=True, cwd=self.folder, env=self._environment,
                                  capture_output=True, text=True, check=False)  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            self.printed[command] = done.stdout + done.stderr

    def run_python(self, code: str) -> None:
        """Run Python in a process of its own."""
        done = subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self._environment,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr

    @staticmethod
    def _line(command: str) -> str:
        """The command with this interpreter; the programs of an environment need not be on the path."""
        python = shlex.quote(sys.executable)
        command = re.sub(r"^python\b", python, command)
        return re.sub(r"^edgepipe\b", f"{python} -m edgepipe", command)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader who has done all of the page."""
    checkout = tmp_path_factory.mktemp("checkout")
    shutil.copytree(REPOSITORY / "docs" / "tutorial", checkout / "docs" / "tutorial")
    (checkout / "models").symlink_to(REPOSITORY / "models")
    reader = Reader(checkout)
    for snippet in snippets(PAGE):
        if snippet.language == "python":
            _do_python(reader, snippet)
        for line in snippet.code.splitlines() if snippet.language == "sh" else ():
            if line == "cd board":
                reader.forget_torch(tmp_path_factory.mktemp("stubs"))
            reader.run(line)
    return reader


def _do_python(reader: Reader, snippet: Snippet) -> None:
    content = text(PAGE)
    names = {content.count("\n", 0, match.end()) + 1: match[1] for match in SAVED.finditer(content)}
    if snippet.line in names:
        (reader.folder / names[snippet.line]).write_text(snippet.code, encoding="utf-8")
    else:
        reader.run_python(snippet.code)


def _printed(reader: Reader, begin: str) -> str:
    return next(printed for command, printed in reader.printed.items() if command.startswith(begin))


def test_the_loss_falls(reader: Reader) -> None:
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", _printed(reader, "python fine_tune.py"))]
    assert losses[-1] < losses[0] / 4


def test_both_variants_pass_the_gate(reader: Reader) -> None:
    table = _printed(reader, "edgepipe info")
    assert re.search(r"^int8 .* passed$", table, re.MULTILINE)
    assert re.search(r"^fp32 .* passed$", table, re.MULTILINE)
    assert "accuracy" in _printed(reader, "edgepipe verify")


def test_the_messages_served_for_both(reader: Reader) -> None:
    manifest = json.loads((reader.folder / "tickets-bundle" / "edgepipe.json").read_text(encoding="utf-8"))
    parity = manifest["variants"]["int8"]["parity"]
    assert parity["seen"] == parity["texts"]
    assert "too few to spare any" in _printed(reader, "edgepipe export")
    assert "of them calibrated with" in (reader.folder / "tickets-bundle" / "README.md").read_text(encoding="utf-8")


def test_the_report_is_there(reader: Reader) -> None:
    assert "<html" in (reader.folder.parent / "report.html").read_text(encoding="utf-8")


def test_the_board_gives_the_answer_of_the_page(reader: Reader) -> None:
    answers = ANSWER.findall(text(PAGE))
    assert answers
    for sentence, label in answers:
        at_home, on_board = (
            printed
            for command, printed in reader.printed.items()
            if command.startswith("edgepipe run") and sentence in command
        )
        line = next(line for line in at_home.splitlines() if line.endswith(sentence))
        assert line.startswith(label)
        assert on_board == f"{line}\n"


def test_the_board_has_int8_alone(reader: Reader) -> None:
    assert [path.name for path in sorted((reader.folder / "tickets-bundle" / "onnx").iterdir())] == [
        "model_int8.onnx",
        "model_int8.onnx_data",
    ]
    assert "sha256" in _printed(reader, "edgepipe info tickets-bundle --check")
