"""What systemd does with ``edgepipe.service``, where none runs: ``python -m tests.examples.start_unit DEVICE``.

The process of the unit is ended, and started again with the unit's own command and environment; ``ExecStartPost`` runs
beside it. The start fails where that fails, or where the process ends before. Paths, user and port are the test's.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from configparser import RawConfigParser
from pathlib import Path

from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "raspberry_pi"


def read_unit(name: str) -> RawConfigParser:
    """A unit's settings."""
    unit = RawConfigParser(strict=True, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(EXAMPLE / name, encoding="utf-8")
    return unit


def localize(text: str, device: Path, port: int) -> str:
    """A unit's line with the paths and the port of a test; the paths may have blanks."""
    for ours, theirs in {
        "/opt/edgepipe/venv/bin/python": f'"{sys.executable}"',
        "/opt/edgepipe/update_bundle.py": f'"{EXAMPLE / "update_bundle.py"}"',
        "--app-dir /opt/edgepipe": f'--app-dir "{REPOSITORY / "examples" / "fastapi"}"',
        "/var/lib/edgepipe": str(device),
        "--port 8000": f"--port {port}",
        ":8000": f":{port}",
    }.items():
        text = text.replace(ours, theirs)
    return text


def start(device: Path) -> int:
    """Start the service of a device anew; the exit status of ``systemctl restart``."""
    port = int((device / "port").read_text())
    stop(device)
    service = read_unit("edgepipe.service")["Service"]
    environment = dict(setting.split("=", 1) for setting in shlex.split(localize(service["Environment"], device, port)))
    with (device / "log").open("wb") as log:
        process = subprocess.Popen(
            shlex.split(localize(service["ExecStart"], device, port)),
            stdout=log,
            stderr=log,
            env=os.environ | environment,
            start_new_session=True,
        )
    confirming = subprocess.Popen(shlex.split(localize(service["ExecStartPost"].removeprefix("+"), device, port)))
    while (status := confirming.poll()) is None and process.poll() is None:
        time.sleep(0.02)
    confirming.kill()
    return 1 if process.poll() is not None else int(status or 0)


def stop(device: Path) -> None:
    """End the service of a device at once, if it runs; it is found by its port, as a cut may come at any moment."""
    port = (device / "port").read_text()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"\0--port\0{port}\0".encode() in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
                while (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    time.sleep(0.01)
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            pass


if __name__ == "__main__":
    sys.exit(start(Path(sys.argv[1])))
