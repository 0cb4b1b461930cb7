"""``examples/serve/edgepipe-serve.service``: systemd finds nothing wrong, and its commands do what they are for."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from configparser import RawConfigParser
from pathlib import Path

import httpx
import pytest

from edgepipe.serve.server import DRAIN
from tests.conftest import REPOSITORY
from tests.examples.servers import free_port

EXAMPLE = REPOSITORY / "examples" / "serve"
NAME = "edgepipe-serve.service"


def read_service() -> dict[str, str]:
    """The settings of the service; of those that are there twice, all on one line."""
    unit = RawConfigParser(strict=True, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(EXAMPLE / NAME, encoding="utf-8")
    return dict(unit["Service"])


SERVICE = read_service()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    text = (EXAMPLE / NAME).read_text(encoding="utf-8")
    for command in ("/opt/edgepipe/venv/bin/edgepipe", "/opt/edgepipe/venv/bin/python"):
        text = text.replace(command, "/bin/true")  # programs have to be there
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / NAME)], capture_output=True, text=True, check=False, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if NAME in line]
    assert (done.returncode, said) == (0, []), done.stderr


def localize(command: str, bundle: Path, port: int) -> list[str]:
    """A command of the unit with the paths and the port of a test."""
    for ours, theirs in {
        "/opt/edgepipe/venv/bin/edgepipe": f'"{sys.executable}" -m edgepipe',
        "/opt/edgepipe/venv/bin/python": f'"{sys.executable}"',
        "/opt/edgepipe/wait_until_ready.py": f'"{EXAMPLE / "wait_until_ready.py"}"',
        "/var/lib/edgepipe/bundle": f'"{bundle}"',
        "--port 8080": f"--port {port}",
        ":8080": f":{port}",
    }.items():
        command = command.replace(ours, theirs)
    return shlex.split(command)


def test_it_starts_reloads_and_ends(bundle: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "journal"
    settings = dict(each.split("=", 1) for each in shlex.split(SERVICE["Environment"]))
    settings["EDGEPIPE_CACHE"] = str(tmp_path / Path(settings["EDGEPIPE_CACHE"]).relative_to("/var/cache"))
    with log.open("wb") as journal:
        process = subprocess.Popen(
            localize(SERVICE["ExecStart"], bundle, port), stderr=journal, env=os.environ | settings
        )
    try:
        confirming = subprocess.run(localize(SERVICE["ExecStartPost"], bundle, port), check=False, timeout=120)
        assert confirming.returncode == 0
        assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
        reload = SERVICE["ExecReload"].replace("$MAINPID", str(process.pid))
        assert subprocess.run(shlex.split(reload), check=False, timeout=60).returncode == 0
        deadline = time.monotonic() + 60
        while log.read_text().count(f'"message":"{bundle.name}: ') < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(getattr(signal, SERVICE.get("KillSignal", "SIGTERM")))
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait(timeout=60)
    loaded = [line for line in log.read_text().splitlines() if f'"message":"{bundle.name}: ' in line]
    assert len(loaded) == 2
    assert {json.loads(line)["level"] for line in log.read_text().splitlines()} == {"info"}
    assert (tmp_path / "edgepipe" / "verdicts").is_dir()


def test_what_it_writes_is_its_cache() -> None:
    assert f"EDGEPIPE_CACHE=/var/cache/{SERVICE['CacheDirectory']}" in SERVICE["Environment"]
    assert SERVICE["ProtectSystem"] == "strict"


def test_systemd_waits_until_everything_is_answered() -> None:
    assert int(SERVICE["TimeoutStopSec"]) > DRAIN


def test_a_server_that_does_not_answer_fails_the_start(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from wait_until_ready import wait; "
        "sys.exit(not wait(sys.argv[2], 0.5))"
    )
    command = [sys.executable, "-c", program, str(EXAMPLE), f"http://127.0.0.1:{free_port()}/health/ready"]
    assert subprocess.run(command, check=False, timeout=60, cwd=tmp_path).returncode == 1


def test_one_that_is_ended_while_it_loads_has_not_failed() -> None:
    assert SERVICE["SuccessExitStatus"] == "143", "edgepipe/cli/exit_status.py has it"
