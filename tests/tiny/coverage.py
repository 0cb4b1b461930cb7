"""Which architecture with which head is exported exactly, as a page of documentation::

    python -m tests.tiny.coverage > docs/reference/architectures.md

Every tiny model is exported with every head and compared with PyTorch, on all cores; that takes minutes. Names of
architectures as arguments leave out the others.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from edgepipe.errors import EdgepipeError
from edgepipe_export.checkpoint.architectures import list_refusals
from tests.tiny import ARCHITECTURES, TABLES, heads
from tests.tiny.parity import ABSOLUTE, BATCHES, LENGTHS, RELATIVE, compare, export_tiny
from tests.tiny.table import MORE

PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def main() -> None:
    """Write the page to standard output, and progress to standard error."""
    architectures = sys.argv[1:] or [*ARCHITECTURES, *MORE]
    started = time.monotonic()
    rows, notes = [], []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        for architecture, cells in zip(architectures, workers.map(_cells, architectures), strict=True):
            notes += [f"- {architecture}, {task}: {cell}" for task, cell in cells.items() if cell.startswith("fails")]
            shown = ["**no**" if cells[task].startswith("fails") else cells[task] for task in TABLES]
            rows.append(f"| {architecture} | {' | '.join(shown)} |")
    print(_page(rows, notes), end="")
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


def _cells(architecture: str) -> dict[str, str]:
    return {task: _cell(architecture, task) if task in heads(architecture) else "" for task in TABLES}


def _cell(architecture: str, task: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = compare(*export_tiny(architecture, task, Path(folder)))
        except (EdgepipeError, RuntimeError, ValueError, LookupError, AssertionError) as error:
            # Ours, or what PyTorch raises for an input that a model cannot take.
            cell = f"fails: {error}"
        else:
            cell = f"fails: {outcome.failures[0]}" if outcome.failures else f"{outcome.largest:.0e}"
    print(f"{architecture} {task}: {cell}", file=sys.stderr, flush=True)
    return cell


def _page(rows: list[str], notes: list[str]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    refused = [f"| {'any' if kind is None else kind} | {reason} |" for kind, reason in list_refusals()]
    lengths = ", ".join(map(str, LENGTHS))
    return "\n".join(
        [
            "# Architectures",
            "",
            "Made by `python -m tests.tiny.coverage > docs/reference/architectures.md`, not by hand, with",
            f"{versions}.",
            "",
            "One row an architecture, one column a head. A number is the largest difference of any output from PyTorch",
            "(fp32, eager) for a tiny model with random weights, exported once and run at batch sizes",
            f"{', '.join(map(str, BATCHES))} with padding and at lengths {lengths} (its limit) and one more, which is",
            "refused where the model has a limit and compared where it has none. Bound:",
            f"{ABSOLUTE:g} + {RELATIVE:g} of the reference, for every element. An empty cell: transformers has no such",
            "head.",
            "",
            f"| architecture | {' | '.join(TABLES)} |",
            f"|---|{'---|' * len(TABLES)}",
            *rows,
            "",
            *(["Not exported exactly:", "", *notes, ""] if notes else []),
            "`deberta-v3` is `deberta-v2` with the settings of version 3. Architectures that are not listed are not",
            "refused: an export compares every tensor with PyTorch before it writes anything.",
            "",
            "## Same numbers, other code",
            "",
            "- `longformer` is computed as full attention with a mask: memory grows with the square of the length.",
            "- `big_bird` has full attention, as in PyTorch from the first text of up to",
            "  (5 + 2 `num_random_blocks`) `block_size` tokens on (704 by default).",
            "",
            "## Refused",
            "",
            "| architecture | it cannot be exported exactly, since |",
            "|---|---|",
            *refused,
            "",
        ]
    )


if __name__ == "__main__":
    main()
