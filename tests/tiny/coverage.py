"""Every architecture with every head and option beside transformers, as two pages of documentation and a count::

    make coverage                               # measures all, which takes an hour on two cores, and writes both pages
    python -m tests.tiny.coverage bert gpt2     # some, without writing
    python -m tests.tiny.coverage --resume      # takes what an earlier run of these versions measured from build/

Each tiny model is exported with each head of transformers' auto classes. Its tensors and the results of its calls are
compared with PyTorch's. The count has what is equal, what differs with a reason, and what is refused with one. Anything
else is listed, and the exit status is 1.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.tiny.architectures_page import render_architectures
from tests.tiny.generation_page import render_generation
from tests.tiny.heads_of_transformers import count_heads_without_task
from tests.tiny.measurement import GENERATION, Cell, all_pairs, describe_versions, measure

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "coverage"
PAGES = ROOT / "docs" / "reference"

Cells = Mapping[tuple[str, str], Cell]

# Why what differs does, by architecture, head and option.
_MEMS = "transformers raises an IndexError: it divides XLNet's `mems` among the inputs of a batch"
DIFFERENT = {
    ("fnet", "fill-mask", "tensors"): "onnxruntime's Fourier transform rounds more than PyTorch's",
    ("xlnet", "text-classification", "batch_size=3"): _MEMS,
    ("xlnet", "feature-extraction", "batch_size=3"): _MEMS,
}


def main() -> int:
    """Measure, write the pages where everything was measured, and print the count."""
    names = [argument for argument in sys.argv[1:] if argument != "--resume"]
    if "--resume" not in sys.argv[1:]:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    pairs = [pair for pair in all_pairs() if not names or pair[0] in names]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        found = dict(zip(pairs, workers.map(partial(measure, folder=FOLDER), *zip(*pairs, strict=True)), strict=True))
    count = render_count(found, whole=not names)
    if not names:
        generation = {name: cell for (name, head), cell in found.items() if head == GENERATION}
        page = render_architectures(found, DIFFERENT, count, describe_versions())
        (PAGES / "architectures.md").write_text(page, encoding="utf-8")
        page = render_generation(generation, describe_versions())
        (PAGES / "generation-models.md").write_text(page, encoding="utf-8")
    print(count)
    unexplained = list_unexplained(found)
    print("\n".join(unexplained), file=sys.stderr)
    return 1 if unexplained else 0


def render_count(cells: Cells, *, whole: bool) -> str:
    """The count of comparisons by head, as a table of Markdown; the `whole` has the heads that no pipeline runs too."""
    rows = []
    for head in dict.fromkeys(head for _, head in cells):
        own = {pair: cell for pair, cell in cells.items() if pair[1] == head}
        calls = [((*pair, option), found) for pair, cell in own.items() for option, found in cell.calls.items()]
        differing = [call for call, found in calls if found is not None]
        explained = sum(call in DIFFERENT for call in differing)
        refused = sum(cell.refused is not None for cell in own.values())
        rest = sum(cell.failed is not None for cell in own.values()) + len(differing) - explained
        rows.append((head, len(own), len(calls) - len(differing), explained, refused, rest))
    if whole:
        rows += [(f"…{ending}", number, 0, 0, number, 0) for ending, number in count_heads_without_task().items()]
    sums = [sum(row[column] for row in rows if isinstance(row[column], int)) for column in range(1, 6)]
    lines = ["| head | architectures | equal | different with a reason | refused with a reason | anything else |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in (*rows, ("all", *sums))]
    return "\n".join(lines)


def list_unexplained(cells: Cells) -> list[str]:
    """What is neither equal nor different nor refused with a reason."""
    lines = []
    for (name, head), cell in cells.items():
        if cell.failed is not None:
            lines.append(f"{name}, {head}: {cell.failed}")
        lines += [
            f"{name}, {head}, {option}: {found}"
            for option, found in cell.calls.items()
            if found is not None and (name, head, option) not in DIFFERENT
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
