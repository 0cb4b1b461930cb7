"""`edgepipe map` from and to S3: s3fs, and moto's server, in an environment with the wheel."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.environments import make
from tests.packaging.conftest import REPOSITORY, checked

pytestmark = pytest.mark.environments

# Kept for the next run; the wheel is installed anew each time.
FOLDER = REPOSITORY / "tests" / "packaging" / ".venv-object-store"
PACKAGES = ("s3fs==2026.9.0", "moto[server]==5.2.5")
MODEL = REPOSITORY / "models" / "edgepipe_models" / "default"
ROWS, FILES = 1200, 3
MAKE = """
import sys, fsspec
system = fsspec.filesystem("s3")
system.mkdir("bucket")
for name, rows in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    with system.open(name, "wt", compression="infer") as stream:
        stream.write(rows)
"""
READ = """
import json, sys, fsspec
system = fsspec.filesystem("s3")
names = sorted(name for name in system.ls(sys.argv[1], refresh=True) if "/part-" in name)
print(json.dumps([[json.loads(line) for line in system.open(name, "rt")] for name in names]))
"""
PARTS = """
import sys, time, fsspec
system = fsspec.filesystem("s3")
while not (system.exists(sys.argv[1]) and any("/part-" in name for name in system.ls(sys.argv[1], refresh=True))):
    system.invalidate_cache()
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """Of an environment with the wheel, s3fs and moto."""
    found = make(FOLDER, list(PACKAGES))
    pip = [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    checked([*pip, f"{wheel}[cpu,map]"])
    checked([*pip, "--force-reinstall", "--no-deps", wheel])
    return found


@pytest.fixture(scope="module")
def env(python: Path) -> Iterator[dict[str, str]]:
    """Variables with which S3 is moto's server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [python.parent / "moto_server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "moto's server has ended"
                assert time.monotonic() < deadline, "moto's server does not answer"
                time.sleep(0.1)
        own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "AWS_"))}
        yield own | {
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def files(python: Path, env: dict[str, str]) -> str:
    """A glob of compressed files with rows that are numbered."""
    made: list[str] = []
    for number in range(FILES):
        rows = range(number * ROWS // FILES, (number + 1) * ROWS // FILES)
        lines = "".join(json.dumps({"id": row, "text": "good " * (row % 7 + 1)}) + "\n" for row in rows)
        made += [f"bucket/in/{number}.jsonl.gz", lines]
    checked([python, "-c", MAKE, *made], env=env)
    return "s3://bucket/in/*.jsonl.gz"


def command(python: Path, files: str, output: str) -> list[str | Path]:
    options = ["--format", "jsonl", "--part-rows", "100", "--json"]
    return [python, "-m", "edgepipe", "map", MODEL, files, output, *options]


def read(python: Path, env: dict[str, str], folder: str) -> list[list[dict[str, Any]]]:
    return list(json.loads(checked([python, "-c", READ, folder], env=env)))


def test_a_job_on_s3_goes_on_where_it_was_killed(python: Path, env: dict[str, str], files: str) -> None:
    whole = json.loads(checked(command(python, files, "s3://bucket/whole"), env=env))
    assert (whole["rows"], whole["failed"]) == (ROWS, 0)
    expected = read(python, env, "bucket/whole")
    assert [row["id"] for part in expected for row in part] == list(range(ROWS))
    assert all(row["label"] == "POSITIVE" for part in expected for row in part)

    running = subprocess.Popen(
        command(python, files, "s3://bucket/killed"),
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        checked([python, "-c", PARTS, "bucket/killed"], env=env, timeout=120)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    kept = len(read(python, env, "bucket/killed"))
    report = json.loads(checked(command(python, files, "s3://bucket/killed"), env=env))
    assert report["rows"] == ROWS
    assert report["kept"] >= kept * 100 > 0
    assert read(python, env, "bucket/killed") == expected


def test_a_bucket_that_is_not_there(python: Path, env: dict[str, str]) -> None:
    done = subprocess.run(
        command(python, "s3://nobody/in", "s3://bucket/none"), env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: s3://nobody/in is not there, or has no file in it")
