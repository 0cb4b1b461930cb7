"""A program on a terminal of its own, as wide as wanted; what is told apart by ``isatty`` shows here alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# The shell's own settings would go before the terminal's.
_UNSET = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE", "COLORTERM")


@dataclass(frozen=True)
class Shown:
    """What a program left.

    Attributes:
        status: Its exit status.
        raw: All that the terminal received.
        output: What went to standard output, where that is not the terminal.
    """

    status: int
    raw: str
    output: str

    @property
    def lines(self) -> list[str]:
        """What was written between two ends of lines or two returns to their beginning, without control sequences."""
        return [line for line in re.split(r"[\r\n]+", _CONTROL.sub("", self.raw)) if line.strip()]

    @property
    def coloured(self) -> bool:
        """Whether any colour was asked for."""
        codes = (code for found in _COLOUR.findall(self.raw) for code in found[2:-1].split(";"))
        return any(code.isdecimal() and (30 <= int(code) <= 49 or 90 <= int(code) <= 107) for code in codes)


def run_on_terminal(
    command: Sequence[str],
    *,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    piped: bool = False,
    interrupt_at: str | None = None,
) -> Shown:
    """Run a program whose standard streams are a terminal.

    Args:
        command: The program and its arguments.
        columns: How wide the terminal is.
        env: Beside this process's environment.
        cwd: Where it runs.
        piped: Whether standard output goes elsewhere.
        interrupt_at: Press Ctrl-C once the terminal shows this.
    """
    import fcntl
    import pty
    import struct
    import termios

    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    settings = {name: value for name, value in os.environ.items() if name not in _UNSET}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.PIPE if piped else theirs,
        stderr=theirs,
        cwd=cwd,
        env=settings | {"TERM": "xterm-256color"} | dict(env or {}),
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    received = bytearray()

    def read() -> None:
        while True:
            try:
                part = os.read(own, 65536)
            except OSError:  # Linux says so where the other end is closed
                return
            if not part:
                return
            received.extend(part)
            if interrupt_at is not None and interrupt_at.encode() in received and not pressed.is_set():
                pressed.set()
                os.write(own, b"\x03")

    pressed = threading.Event()
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    output, _ = process.communicate(timeout=300)
    reader.join(30)
    os.close(own)
    return Shown(process.returncode, received.decode("utf-8", "replace"), (output or b"").decode("utf-8"))


def _take_terminal() -> None:
    """Have the terminal's Ctrl-C reach this process, which a shell in the background may have told to ignore it."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
