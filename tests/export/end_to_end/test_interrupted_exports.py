"""Exports that a signal ends, at every stage: the status, what is left, and how the next goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepipe import Bundle
from edgepipe_export.calibration.texts import sentences

# Seconds to wait for another process, which takes a few where nothing else runs.
PATIENCE = 300

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


class Running:
    """An export that runs, into ``out`` of a folder.

    Attributes:
        folder: The folder.
    """

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        self.folder = folder
        texts = folder / "texts.txt"
        texts.write_text("\n".join(sentences()[:20]), encoding="utf-8")
        (folder / "tmp").mkdir(exist_ok=True)
        options = ["--dtype", "fp32,int8", "--max-drop", "60", "--calibration", texts, "--report", folder / "page.html"]
        command = [sys.executable, "-m", "edgepipe", "export", checkpoint, folder / "out", *options]
        with (folder / "stderr").open("w") as stderr:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=os.environ | {"EDGEPIPE_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")},
                # A shell that runs in the background may have its children ignore interrupts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
            )

    @property
    def told(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def has(self, pattern: str) -> bool:
        return any(self.folder.glob(pattern))

    def is_over(self, stage: str) -> bool:
        return re.search(rf"^  {stage} +[0-9.]+ s$", self.told, re.MULTILINE) is not None

    def wait_until(self, moment: Callable[[Running], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not moment(self):
            assert self.process.poll() is None, f"the export ended before:\n{self.told}"
            assert time.monotonic() < deadline, f"not so far after {PATIENCE} s:\n{self.told}"
            time.sleep(0.001)


MOMENTS: dict[str, Callable[[Running], bool]] = {
    "resolve": lambda run: run.has(".out.*"),
    "trace": lambda run: run.has(".out.*/tokenizer.json"),
    "quantize": lambda run: run.has(".out.*/onnx/model_int8.onnx*"),
    "verify": lambda run: run.is_over("quantize int8"),
    "time": lambda run: run.is_over("verify"),
    "write": lambda run: run.is_over("time"),
    "report": lambda run: run.has("out"),
    "end": lambda run: run.has("page.json"),
}
# Each moment with one of the two signals, the last stage with both.
CASES = [
    ("resolve", signal.SIGTERM),
    ("trace", signal.SIGINT),
    ("quantize", signal.SIGTERM),
    ("verify", signal.SIGINT),
    ("time", signal.SIGTERM),
    ("write", signal.SIGINT),
    ("write", signal.SIGTERM),
    ("report", signal.SIGINT),
    ("end", signal.SIGTERM),
]


@pytest.mark.parametrize(("moment", "number"), CASES)
def test_a_signal_ends_an_export_and_leaves_nothing_half_made(
    checkpoint: Path, tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    run = Running(checkpoint, tmp_path)
    run.wait_until(MOMENTS[moment])
    run.process.send_signal(number)
    status = run.process.wait(PATIENCE)
    # Once the command has said its last word the system ends it, for which a shell has the same numbers.
    assert status in (128 + number, -number), run.told
    if moment not in ("write", "report", "end"):
        assert run.told.splitlines()[-1] == {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert list((tmp_path / "tmp").glob("edgepipe*")) == [], "no log"
    assert set(os.listdir(tmp_path)) <= {"cache", "out", "page.html", "page.json", "stderr", "texts.txt", "tmp"}
    if (tmp_path / "out").exists():
        assert moment in ("write", "report", "end")
        assert Bundle.load(tmp_path / "out").check()
    if (tmp_path / "page.html").exists():
        assert (tmp_path / "page.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_the_next_export_goes_on_from_finished_work(checkpoint: Path, tmp_path: Path) -> None:
    run = Running(checkpoint, tmp_path)
    run.wait_until(MOMENTS["time"])
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(PATIENCE) == 143
    again = Running(checkpoint, tmp_path)
    assert again.process.wait(PATIENCE) == 0, again.told
    found = re.search(r"reused +(\d+) of \d+ measurements and graphs", again.told)
    assert found is not None
    assert int(found[1]) >= 2, "the parity of fp32, and the figures of int8"
    assert Bundle.load(tmp_path / "out").check()
