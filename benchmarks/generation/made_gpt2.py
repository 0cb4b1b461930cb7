"""What measurements of one decoder share: options, a GPT-2 of random weights, and what a page says first."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.generation.generation_checkpoints import make_apart
from benchmarks.pipelines.request_report import versions
from benchmarks.written_results import RESULTS

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads


def make_parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A parser of what all of them take; `rounds` by default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=available_threads(), help="[default: what the process may use]")
    parser.add_argument("--keep", type=Path, help="keep the model in this folder, and use it if it is there")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser


@contextmanager
def make_bundle(keep: Path | None) -> Iterator[Path]:
    """The bundle of a GPT-2 (124 million weights, random), in a folder that stays or in one for the time of a block."""
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        folder = Path(keep or temporary) / "gpt2"
        make_apart("gpt2", folder)
        yield folder / "bundle"


def describe_machine(threads: int) -> dict[str, str]:
    """Where it was measured, and with what."""
    names = ", ".join(f"{name} {version}" for name, version in versions(with_optimum=False).items())
    return {"machine": machine_name(threads), "versions": names}
