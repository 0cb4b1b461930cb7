"""A process that loads a bundle again and again while exports to it are killed: ``python -m tests.chaos.reader``.

It reads where the bundle is and what to expect as a line of JSON, and loads until that input ends. Then it prints how
often it saw what.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepipe import EdgepipeError, pipeline
from tests.chaos.exporters import TEXT


def start_reader(output: Path, answers: Mapping[str, Any]) -> subprocess.Popen[str]:
    """Have a process read a bundle all the time, from now on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.reader"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the parent
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([str(output), dict(answers)]) + "\n")
    process.stdin.flush()
    process.stdout.readline()
    return process


def end_reader(process: subprocess.Popen[str]) -> Counter[str]:
    """How often it saw what: the name of a bundle, or what was wrong."""
    printed, _ = process.communicate(timeout=60)
    return Counter(json.loads(printed))


def read(output: str, answers: Mapping[str, Any]) -> str:
    """Load and call once."""
    try:
        with pipeline(model=output, num_threads=1) as classify:
            said = classify(TEXT)
            return next((name for name, expected in answers.items() if said == expected), f"another answer: {said}")
    except EdgepipeError as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Read until the input ends."""
    output, answers = json.loads(sys.stdin.readline())
    print("reading", flush=True)
    seen: Counter[str] = Counter()
    while not select.select([sys.stdin], [], [], 0)[0]:
        seen[read(output, answers)] += 1
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
