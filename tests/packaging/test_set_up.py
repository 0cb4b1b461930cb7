"""The script that sets up an environment: what it installs, what it says, and how it ends where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from scripts.set_up import STAGES, can_reach, has_torch

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


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    environment = tmp_path / "with a blank"
    done = set_up(environment, "runtime", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_FIND_LINKS="")
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("Installing the runtime: onnxruntime, tokenizers, numpy: up to ")
    assert "Without a network: try again with one." in last
    assert not (environment / ".runtime").exists()


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
