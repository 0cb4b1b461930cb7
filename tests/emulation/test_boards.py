"""The commands of docs/how-to/boards.md, as a Raspberry Pi 4 would run them: installed, checked, updated, taken back.

An environment is made in a folder, and the page's own lines run there. What is not run so is a table with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from edgepipe_models import default_bundle
from tests.emulation.environment import BUILD, NEWEST, PYTHON, write_interpreter
from tests.emulation.processors import PROCESSORS

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "how-to" / "boards.md"
DEVICE_LOCK = REPOSITORY / "runtime" / "edgepipe" / "cli" / "device.txt"
BOARD = PROCESSORS["cortex-a72"]

INSTALL = ("pip install --no-deps --require-hashes -r device.txt", "pip install --no-deps edgepipe")
COPY = "rsync -a --exclude 'onnx/model.onnx*' bundle/ board:bundle/"
COPY_NEWER = "rsync -a bundle-2/ board:bundle-2/"
COPY_WHEELS = "rsync -a wheels/ board:wheels/"
CHECK = "edgepipe check bundle"
RUN = 'edgepipe run bundle "The delivery was late again."'
BUNDLE_WHEELS = "edgepipe bundle-wheels wheels --platform linux_aarch64 --python 3.11"
INSTALL_WHEELS = "ssh board python3 -m pip install --no-deps -r wheels/requirements.txt"
BENCH = ("edgepipe bench bundle", "edgepipe bench bundle --threads 1", "edgepipe bench bundle --low-memory")
SWITCH = "ssh board 'edgepipe check bundle-2 && ln -sfn bundle-2 current.new && mv -T current.new current'"
EMULATED = (*INSTALL, COPY, COPY_NEWER, COPY_WHEELS, CHECK, RUN, BUNDLE_WHEELS, INSTALL_WHEELS, *BENCH, SWITCH)

# Commands of the page that no emulated board runs, and why.
NOT_RUN = {
    "edgepipe export MODEL bundle --dtype int8,fp32 --target arm64 --calibration dev.tsv": (
        "on the workstation: tests/emulation/bundles.py exports for arm64"
    ),
    'export EDGEPIPE_PROVE_ON_ARM64="docker run --rm --platform linux/arm64 -v {folder}:{folder} IMAGE python"': (
        "needs docker and an image; the page says that it was not run"
    ),
    "edgepipe export MODEL bundle --dtype int8,fp32 --target arm64 --prove-on arm64": (
        "on the workstation: tests/export/probes/test_proving.py"
    ),
    "pip install 'edgepipe[cpu]'": "the 21 packages: tests/packaging; here the five of device.txt are installed",
}


# Installs packages with pip, and takes minutes: `make test-arm64` asks for them.
emulated = pytest.mark.environments


def list_commands() -> list[str]:
    """The lines of the page's blocks of shell, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for each in block.splitlines() if (line := re.sub(r"\s+# .*", "", each).strip())]


def test_every_command_of_the_page_is_run_or_named() -> None:
    assert sorted({*EMULATED, *NOT_RUN}) == sorted(set(list_commands()))


@dataclass(frozen=True)
class Board:
    """A folder that is a board's home, with an environment of an emulated processor.

    Attributes:
        home: Where commands run.
        environment: With ``bin/python``.
    """

    home: Path
    environment: Path

    def run(self, command: str, given: str = "") -> str:
        """Run a line of shell as on the board, and return what it printed."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        own |= {"PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}", "EDGEPIPE_CACHE": str(self.home / "cache")}
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.home, env=own, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def add_python(self) -> None:
        """An environment that has pip, and nothing else."""
        python = write_interpreter(BOARD, self.environment)
        site = self.environment / "lib" / f"python{PYTHON}" / "site-packages"
        site.mkdir(parents=True)
        shutil.copytree(BUILD / BOARD.architecture / NEWEST / "pip", site / "pip")
        (python.parent / "python3").symlink_to("python")
        (python.parent / "pip").write_text('#!/bin/sh\nexec python -m pip --disable-pip-version-check "$@"\n')
        (python.parent / "pip").chmod(0o755)


def on_board(command: str) -> str:
    """What ``ssh board`` would run there."""
    _, _, *words = shlex.split(command)
    return " ".join(words)


def copy(command: str, home: Path, source: Path) -> None:
    """What ``rsync`` would copy to the board, without the files that it is told to leave out."""
    words = shlex.split(command)
    excluded = [words[place + 1] for place, word in enumerate(words) if word == "--exclude"]

    def leave_out(folder: str, names: Sequence[str]) -> set[str]:
        paths = {name: (Path(folder) / name).relative_to(source).as_posix() for name in names}
        return {name for name, path in paths.items() if any(fnmatch(path, pattern) for pattern in excluded)}

    shutil.copytree(source, home / words[-1].removeprefix("board:"), ignore=leave_out)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Board:
    if not (BUILD / BOARD.architecture / NEWEST / "pip").is_dir() or not (BUILD / "qemu").is_dir():
        pytest.skip("no emulated processor is here: make test-arm64 makes them")
    home = tmp_path_factory.mktemp("board")
    board = Board(home, home / "venv")
    board.add_python()
    shutil.copy2(DEVICE_LOCK, home / "device.txt")
    first, second = INSTALL
    board.run(first)
    # edgepipe is what this checkout is.
    board.run(second.replace("edgepipe", shlex.quote(str(wheel))))
    copy(COPY, home, default_bundle())
    return board


def test_a_bundle_is_copied_without_the_files_of_fp32(tmp_path: Path) -> None:
    source = tmp_path / "bundle"
    (source / "onnx").mkdir(parents=True)
    for name in ("edgepipe.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_int8.onnx"):
        (source / name).touch()
    copy(COPY, tmp_path / "home", source)
    found = {path.name for path in (tmp_path / "home" / "bundle").rglob("*") if path.is_file()}
    assert found == {"edgepipe.json", "model_int8.onnx"}


@emulated
def test_the_bundle_is_checked_and_answers(board: Board) -> None:
    assert "passed" in board.run(CHECK)
    assert board.run(RUN).startswith("NEGATIVE")


@emulated
def test_the_board_says_what_it_is(board: Board) -> None:
    found = json.loads(board.run("edgepipe env --json"))
    assert "aarch64" in json.dumps(found)


@emulated
@pytest.mark.parametrize("command", BENCH, ids=["plain", "one-thread", "low-memory"])
def test_it_is_measured(board: Board, command: str) -> None:
    assert "int8" in board.run(f"{command} --batch 1 --length 16")


@emulated
def test_a_program_reads_texts_line_by_line(board: Board) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (board.home / "program.py").write_text(program, encoding="utf-8")
    assert board.run("python program.py", "I love it\nWhat a waste\n").split() == ["POSITIVE", "NEGATIVE"]


@emulated
def test_a_program_of_another_language_asks_by_lines(board: Board) -> None:
    lines = board.run("edgepipe run bundle --serve-stdin", '"I love it"\n{"id": 7, "inputs": "What a waste"}\n')
    ready, first, second = map(json.loads, lines.splitlines())
    assert ready["ready"]
    assert "POSITIVE" in json.dumps(first)
    assert "NEGATIVE" in json.dumps(second)


@emulated
def test_a_newer_bundle_takes_the_place(board: Board) -> None:
    copy(COPY_NEWER, board.home, default_bundle())
    board.run(on_board(SWITCH))
    assert os.readlink(board.home / "current") == "bundle-2"
    assert board.run("edgepipe run current 'I love it'").startswith("POSITIVE")


@emulated
def test_an_update_is_installed_and_taken_back(board: Board) -> None:
    shutil.copy2(REPOSITORY / "examples" / "raspberry_pi" / "update_bundle.py", board.home)
    altered = board.home / "altered"
    shutil.copytree(default_bundle(), altered)
    manifest = altered / "edgepipe.json"
    manifest.write_text(manifest.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    update = "python update_bundle.py --root installed"
    board.run(f"{update} install bundle --restart true")
    first = os.readlink(board.home / "installed" / "current")
    board.run(f"{update} install altered --restart true")
    assert os.readlink(board.home / "installed" / "current") != first
    board.run(f"{update} rollback --restart true")
    assert os.readlink(board.home / "installed" / "current") == first


@emulated
def test_wheels_are_carried_to_a_board_without_a_network(board: Board, tmp_path: Path) -> None:
    board.run(BUNDLE_WHEELS)
    offline = Board(tmp_path, tmp_path / "venv")
    offline.add_python()
    copy(COPY_WHEELS, tmp_path, board.home / "wheels")
    offline.run(f"PIP_INDEX_URL=http://127.0.0.1:9/ {on_board(INSTALL_WHEELS)}")
    assert offline.run("edgepipe run 'I love it'").startswith("POSITIVE")
