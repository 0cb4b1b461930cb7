"""``edgepipe map``: files to files, what it says of them, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgepipe.cli.main import cli
from edgepipe.mapping.job import RECORD
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("small") / "bundle")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f"{number},some text {number}\n" for number in range(40)) + "40,\n")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["map", *map(str, arguments)])


def test_what_it_says(bundle: Path, rows: Path, tmp_path: Path) -> None:
    done = run(bundle, rows, tmp_path / "out.jsonl", "--part-rows", 10)
    assert done.exit_code == 0, done.output
    first, second, third = done.stdout.splitlines()
    assert first == f"{tmp_path / 'out.jsonl'}: 41 rows"
    assert second.startswith("41 rows in ")
    assert third == "without a text, and so without a result: 1"
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 41


def test_json_has_the_same(bundle: Path, rows: Path, tmp_path: Path) -> None:
    for kept in (0, 41):
        done = run(bundle, rows, tmp_path / "out", "--json", "--quiet", "--format", "parquet")
        report = json.loads(done.stdout)
        assert (report["rows"], report["kept"], report["failed"]) == (41, kept, 0)
        assert done.stderr == ""


def test_options_and_pairs(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"one": "good", "two": "bad"}))
    done = run(bundle, path, tmp_path / "out.jsonl", "--column", "one", "--text-pair", "two", "-o", "top_k=2")
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "out.jsonl").read_text())["output"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "nothing"], "has no column 'nothing', it has id, text"),
        (["--column", "id"], "0 of 0"),
        (["-o", "nothing"], "an option is NAME=VALUE"),
        (["--text-pair", "more"], "has no column 'more'"),
    ],
    ids=["column", "fine", "option", "pair"],
)
def test_wrong_columns_and_options(
    bundle: Path, rows: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run(bundle, rows, tmp_path / "out", *arguments)
    if message == "0 of 0":
        assert done.exit_code == 0, done.output
        return
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgepipe", "map", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def until_parts(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part-*"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.csv"
    path.write_text("text\n" + "".join(f"some text {number}\n" for number in range(20_000)))
    return path


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_stopped_it_goes_on_to_the_same_end(
    bundle: Path, many: Path, tmp_path: Path, sent: signal.Signals, processes: int
) -> None:
    out = tmp_path / "out"
    arguments = (bundle, many, out, "--part-rows", 100, "--threads", 1, "--processes", processes)
    process = start(*arguments)
    until_parts(process, out, 3)
    os.kill(process.pid, sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode in {130, 143, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM}
    if sent != signal.SIGKILL:
        assert "parts that are there are whole; the same command goes on" in said
    there = {name: data for name, data in contents(out).items() if name.startswith("part-")}
    assert 3 <= len(there) < 200
    done = run(*arguments, "--json", "--quiet")
    assert json.loads(done.stdout)["kept"] >= 100 * len(there)
    found = contents(out)
    assert there.items() <= found.items()
    assert sorted(found) == [RECORD, *(f"part-{number:06d}.csv" for number in range(200))]


def test_without_its_packages_it_says_which(bundle: Path, rows: Path) -> None:
    program = """
        import sys
        from click.testing import CliRunner
        from edgepipe.cli.main import cli
        print(CliRunner().invoke(cli, ["map", *sys.argv[1:], "out"]).exception)
    """
    for missing in ("pyarrow", "fsspec"):
        said = run_python(program, str(bundle), str(rows), blocked=(missing,))
        assert f"datasets need {missing} (" in said
        assert "pip install 'edgepipe[map]'" in said
