"""What a list of texts takes beside the graph alone: `python -m benchmarks.pipelines.lists BUNDLE --dtype int8`.

The pipeline goes from texts of mixed lengths to results. Then the graph alone runs on the same padded batches. Both are
in one process, in turns for several rounds. What is left is sorting, tokenizing, padding and results.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.text_sets import DATA, text_sets
from benchmarks.turns import ROUNDS, print_progress

from edgepipe import pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dtype")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=12000, help="of the texts, at least  [default: 12000]")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    task: Any = pipeline(model=arguments.bundle, dtype=arguments.dtype, verify="never")
    texts = text_sets(arguments.data, arguments.bundle / "tokenizer.json", arguments.tokens, 1)[-1].texts
    run = task.model.session.run
    batches = record_batches(task, texts, arguments.batch_size)
    wholes, graphs = [], []
    for number in range(arguments.rounds):
        print_progress(f"round {number + 1} of {arguments.rounds}")
        wholes.append(measure(lambda: task(texts, batch_size=arguments.batch_size)))
        graphs.append(measure(lambda: [run(feeds) for feeds in batches]))
    share = statistics.median(graph / whole for graph, whole in zip(graphs, wholes, strict=True))
    whole, graph = (1000 * statistics.median(each) for each in (wholes, graphs))
    print(
        f"{task.model!r}\n{len(texts)} texts in {len(batches)} batches: the list {whole:.0f} ms, the graph alone "
        f"{graph:.0f} ms; the list is as fast as {share:.3f} of the graph"
    )


def record_batches(task: Any, texts: list[str], batch_size: int) -> list[Mapping[str, Any]]:
    """What the graph is fed for the texts; the session is as before afterwards."""
    session = task.model.session
    run, batches = session.run, []

    def record(feeds: Mapping[str, Any]) -> Any:
        batches.append({name: np.array(values) for name, values in feeds.items()})
        return run(feeds)

    session.run = record
    task(texts, batch_size=batch_size)
    session.run = run
    return batches


def measure(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
