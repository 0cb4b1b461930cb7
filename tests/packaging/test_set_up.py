"""The script that sets up an environment: what it installs, what it says, and how it ends where it cannot."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from scripts.lock import list_pins
from scripts.set_up import LOCKS, STAGES, can_reach, has_torch, install_locked

from tests.packaging.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "set_up.py"


def set_up(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | environment
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=env)


def test_stages_are_extras_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {extra for extra, _, _ in STAGES.values()} <= set(project["optional-dependencies"])


def test_an_unknown_stage_is_wrong_usage(tmp_path: Path) -> None:
    done = set_up(tmp_path / "environment", "everything")
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ")
    assert not (tmp_path / "environment").exists()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an environment is, once the first test has made it."""
    return tmp_path_factory.mktemp("set-up") / "with a blank"


def test_without_a_network_it_says_what_to_do(environment: Path) -> None:
    done = set_up(environment, "runtime", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_FIND_LINKS="")
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("Installing the runtime: onnxruntime, tokenizers, numpy: up to ")
    assert "Without a network: try again with one." in last
    assert not (environment / ".runtime").exists()


def write_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel with nothing in it, as an index has it that somebody has altered."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"{stem}.dist-info"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{metadata}/RECORD", f"{metadata}/METADATA,,\n{metadata}/WHEEL,,\n{metadata}/RECORD,,\n")
    return wheel


def test_a_wrong_hash_is_said_and_nothing_is_installed(environment: Path, tmp_path: Path) -> None:
    for lock in ("build", "runtime"):
        for name, version in list_pins((LOCKS / f"{lock}.txt").read_text(encoding="utf-8")):
            write_wheel(tmp_path, name, version)
    done = set_up(environment, "runtime", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 1
    assert "Expected sha256" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("A file is not the one that the lock names, and was not installed; ")
    assert not (environment / ".runtime").exists()
    assert list(environment.rglob("hatchling*")) == []


def test_a_file_with_the_hash_of_the_lock_is_installed(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(write_wheel(tmp_path, "small", "1.0").read_bytes()).hexdigest()
    (tmp_path / "lock.txt").write_text(f"small==1.0 \\\n    --hash=sha256:{digest}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    if not environment.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    assert install_locked(python, tmp_path / "lock.txt") is None
    assert list(environment.rglob("small-1.0.dist-info"))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = set_up(tmp_path / "file" / "environment", "runtime")
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr


def test_torch_is_looked_for() -> None:
    assert has_torch(Path(sys.executable))


class _Index(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/torch/" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_an_index_is_reached_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert can_reach(f"{address}/torch/")
        assert not can_reach(f"{address}/elsewhere/")
        server.shutdown()
    assert not can_reach(f"{address}/torch/", seconds=1)
