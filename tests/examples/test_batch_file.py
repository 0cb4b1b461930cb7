"""``examples/batch_file``: whatever stops it, the output has the same bytes, and memory does not grow with the file."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepipe import pipeline
from tests.conftest import REPOSITORY, Exported
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle

PROGRAM = REPOSITORY / "examples" / "batch_file" / "run_file.py"
BLOCK = 1024
# A block and a half more than some blocks, so that the last is no whole one.
LINES = 20 * BLOCK + BLOCK // 2
WORDS = ("good", "bad", "late", "train", "delivery", "love", "this", "日本", "😀", "")


def write_lines(path: Path, count: int, seed: int = 0) -> Path:
    generator = random.Random(seed)
    with path.open("w", encoding="utf-8") as stream:
        for _ in range(count):
            stream.write(" ".join(generator.choices(WORDS, k=generator.randrange(12))) + "\n")
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "bundle", ("fp32", "int8"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("texts") / "texts.txt", LINES)


@pytest.fixture(scope="module")
def uninterrupted(bundle: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("output") / "results.jsonl"
    done = run(bundle, texts, output)
    assert done.returncode == 0, done.stderr
    *warned, last = done.stderr.splitlines()
    assert last == f"{LINES} lines, 0 of those read now have an error: {output}"
    assert any(line.startswith("texts that were cut at 16 tokens") for line in warned)
    assert done.stderr.count("texts that were cut") == 1
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    return output


def test_the_results_are_the_pipeline_s(bundle: Path, texts: Path, uninterrupted: Path) -> None:
    records = [json.loads(line) for line in uninterrupted.read_text(encoding="utf-8").splitlines()]
    lines = texts.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    expected = pipeline(model=bundle, batch_size=16)(lines[:100])
    assert [record["line"] for record in records] == list(range(1, LINES + 1))
    assert [record["result"]["label"] for record in records[:100]] == [result["label"] for result in expected]
    scores = [record["result"]["score"] for record in records[:100]]
    assert scores == pytest.approx([result["score"] for result in expected], abs=1e-6)


def test_killed_again_and_again_it_ends_with_the_same_bytes(
    bundle: Path, texts: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.jsonl"
    part = tmp_path / "results.jsonl.part"
    kills = grown = 0
    generator = random.Random(0)
    while not output.exists():
        before = part.stat().st_size if part.exists() else 0
        process = subprocess.Popen(
            [sys.executable, PROGRAM, bundle, texts, output], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # Wherever it is once it has written something, in a block or between two.
        while process.poll() is None and (not part.exists() or part.stat().st_size <= before):
            time.sleep(0.001)
        time.sleep(generator.random() * 0.05)
        if kills < 8:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(timeout=300)
        grown += part.exists() and part.stat().st_size > before
    assert grown >= 3, "it was never killed at work"
    assert output.read_bytes() == uninterrupted.read_bytes()
    assert not part.exists()


@pytest.mark.parametrize("torn", [b'{"line": 2049, "resu', b"\0" * 4096, b'{"line": 7, "result": 1}\n', b"[]\n", b"\n"])
def test_what_a_power_cut_left_at_the_end_is_done_again(
    torn: bytes, bundle: Path, texts: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    output = begin(bundle, texts, uninterrupted, tmp_path, torn)
    done = run(bundle, texts, output)
    assert done.stderr.splitlines()[0] == f"{2 * BLOCK} lines are done already"
    assert output.read_bytes() == uninterrupted.read_bytes()


def begin(bundle: Path, texts: Path, uninterrupted: Path, folder: Path, torn: bytes = b"") -> Path:
    """What is there when a run was stopped after two blocks."""
    output, job = folder / "results.jsonl", folder / "results.jsonl.job"
    process = subprocess.Popen([sys.executable, PROGRAM, bundle, texts, output], stderr=subprocess.DEVNULL)
    while not job.exists():
        time.sleep(0.01)
    process.kill()
    process.wait(timeout=60)
    whole = uninterrupted.read_bytes().splitlines(keepends=True)[: 2 * BLOCK]
    (folder / "results.jsonl.part").write_bytes(b"".join(whole) + torn)
    return output


def test_it_does_not_go_on_with_something_else(bundle: Path, texts: Path, uninterrupted: Path, tmp_path: Path) -> None:
    output = begin(bundle, texts, uninterrupted, tmp_path)
    part = tmp_path / "results.jsonl.part"
    before = part.read_bytes()
    other = write_bundle(tmp_path / "other", task="zero-shot-classification")
    for arguments, changed in [
        ((other, texts), "bundle"),
        ((bundle, write_lines(tmp_path / "texts.txt", 10)), "input"),
        ((bundle, texts, "--dtype", "int8"), "dtype"),
        ((bundle, texts, "--batch-size", "4"), "batch_size"),
    ]:
        done = run(*arguments[:2], output, *arguments[2:])
        assert done.returncode == 1
        assert "was begun with another " in done.stderr
        assert changed in done.stderr
        assert part.read_bytes() == before


def test_a_result_that_is_there_is_not_overwritten(bundle: Path, texts: Path, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("mine")
    done = run(bundle, texts, tmp_path / "results.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert "exists: it is complete" in done.stderr
    assert (tmp_path / "results.jsonl").read_text() == "mine"


def test_a_line_that_the_task_cannot_use_has_the_reason(tiny_export: Callable[..., Exported], tmp_path: Path) -> None:
    bundle = tiny_export("bert", task="fill-mask").bundle
    (tmp_path / "texts.txt").write_text("I [MASK] this\nnothing to fill in\n[MASK]\n")
    done = run(bundle.path, tmp_path / "texts.txt", tmp_path / "results.jsonl")
    assert "3 lines, 1 of those read now have an error" in done.stderr
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [record["line"] for record in records] == [1, 2, 3]
    assert "[MASK]" in records[1]["error"]
    fill = pipeline(model=bundle)
    for record, text in ((records[0], "I [MASK] this"), (records[2], "[MASK]")):
        assert [result["token"] for result in record["result"]] == [result["token"] for result in fill(text)]


def test_a_line_that_is_no_text_has_the_reason(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_bytes(b"I love this\r\n\xff\xfe\n\nlast without end")
    done = run(bundle, tmp_path / "texts.txt", tmp_path / "results.jsonl")
    assert done.returncode == 0, done.stderr
    assert "4 lines, 1 of those read now have an error" in done.stderr
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert records[1] == {"line": 2, "error": "the line is not UTF-8"}
    classify = pipeline(model=bundle)
    texts = {1: "I love this", 3: "", 4: "last without end"}
    assert [records[line - 1]["result"]["label"] for line in texts] == [
        classify(text)[0]["label"] for text in texts.values()
    ]


@pytest.mark.parametrize(
    ("arguments", "said"), [(["no-bundle", "texts.txt"], "no-bundle"), (["BUNDLE", "no-texts.txt"], "no-texts.txt")]
)
def test_what_is_not_there_is_named(arguments: list[str], said: str, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a\n")
    paths = [str(bundle) if name == "BUNDLE" else str(tmp_path / name) for name in arguments]
    done = run(*paths, tmp_path / "results.jsonl")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_two_at_once_are_one_too_many(bundle: Path, texts: Path, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "results.jsonl.part").open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        done = run(bundle, texts, tmp_path / "results.jsonl")
    assert done.returncode == 1
    assert "is being written by another process" in done.stderr


def test_memory_does_not_grow_with_the_file(bundle: Path, tmp_path: Path) -> None:
    """Ten times the lines, 100 characters each; the peak of the process in bytes."""
    program = """
        import runpy, sys
        from edgepipe.benchmarking.memory import read_memory
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
        print(read_memory()["peak_bytes"])
    """
    peaks = {}
    for count in (4 * BLOCK, 40 * BLOCK):
        texts = tmp_path / f"{count}.txt"
        texts.write_text(
            "a delivery that was late again, and nobody who knew of it, or would tell why, or wanted\n" * count
        )
        said = run_python(program, str(PROGRAM), str(bundle), str(texts), str(tmp_path / f"{count}.jsonl"))
        peaks[count] = int(said)
    small, large = peaks.values()
    growth_of_input = (tmp_path / f"{40 * BLOCK}.txt").stat().st_size - (tmp_path / f"{4 * BLOCK}.txt").stat().st_size
    assert large - small < growth_of_input / 2, peaks
