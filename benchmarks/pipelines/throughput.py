"""Many texts of mixed lengths: `python -m benchmarks.pipelines.throughput` (`make bench-throughput`).

Tokens a second of text classification on a DistilBERT-base, edgepipe beside optimum-onnx's pipeline (and transformers'
own with --torch) at the same batch size. Every contender is a worker process of its own; each round gives each of
them every list of texts in turn, so that whatever else the machine does falls on all alike. Tokens are those of the
texts: padding counts for nothing. What it prints is also written to benchmarks/results, as Markdown and as JSON.

The texts are sst2/dev.tsv and wikiann/dev.conll of --data, and a log-normal mix of 8 to 512 tokens made here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.environments import optimum_python
from benchmarks.pipelines.contenders import Contender, start_worker
from benchmarks.pipelines.request import BENCHMARKS, model_folder
from benchmarks.pipelines.throughput_report import OPTIMUM, OURS, Timing, build_record, markdown
from benchmarks.text_sets import DATA, TextSet, text_sets
from benchmarks.turns import print_progress
from benchmarks.written_results import write_results

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads or available_threads()
    optimum = arguments.optimum_python or str(optimum_python())
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        folder = model_folder(arguments.model, Path(arguments.keep or temporary))
        everyone = [
            Contender(OURS, "ours.py", folder / "bundle", ("fp32", "normal")),
            Contender("edgepipe int8", "ours.py", folder / "bundle", ("int8", "normal"), exact=False),
            Contender(OPTIMUM, "optimum_pipeline.py", folder / "inside", python=optimum),
        ]
        if arguments.torch:
            everyone.append(Contender("transformers, torch", "torch_pipeline.py", folder / "checkpoint"))
        tokenizer = folder / "bundle" / "tokenizer.json"
        sets = text_sets(arguments.data, tokenizer, arguments.tokens, 2 * max(arguments.batch_sizes))
        if len(sets) < 3:
            print(f"{arguments.data} lacks sst2/dev.tsv or wikiann/dev.conll: they are left out", file=sys.stderr)
        timings = measure(everyone, sets, arguments.batch_sizes, arguments.rounds, threads)
    record = build_record(arguments.model, everyone, sets, timings, machine_name(threads), arguments.rounds)
    write_results(arguments.output, "throughput", record, markdown(record))


def measure(
    everyone: list[Contender], sets: list[TextSet], batch_sizes: list[int], rounds: int, threads: int
) -> list[Timing]:
    """Every contender on every set in turns; one round at the first batch size goes before, and does not count.

    Raises:
        SystemExit: a process failed, or an exact contender's results are not those of the first.
    """
    timings = []
    with ExitStack() as stack:
        running = [stack.enter_context(start_worker(contender, threads)) for contender in everyone]
        for number in range(-1, rounds):
            print_progress(f"round {number + 1} of {rounds}" if number >= 0 else "warming up")
            for texts in sets:
                for batch_size in batch_sizes if number >= 0 else batch_sizes[:1]:
                    request = {"texts": texts.texts, "batch_size": batch_size}
                    answers = [one.request(request) for one in running]
                    for contender, answer in zip(everyone, answers, strict=True):
                        if contender.exact and not _is_same(answer["results"], answers[0]["results"]):
                            raise SystemExit(f"{contender.name} and {everyone[0].name} differ on {texts.name}")
                        if number >= 0:
                            timings.append(Timing(contender.name, texts.name, batch_size, answer["seconds"]))
    return timings


def _is_same(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    return len(some) == len(others) and all(
        one["label"] == other["label"] and abs(one["score"] - other["score"]) < 1e-4
        for one, other in zip(some, others, strict=True)
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("distilbert-base", "tiny"), default="distilbert-base")
    parser.add_argument("--data", type=Path, default=DATA, help="[default: ../shared/data beside the checkout]")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--tokens", type=int, default=2000, help="of a set of texts, at least  [default: 2000]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="[default: what the process may use]")
    parser.add_argument("--torch", action="store_true", help="run transformers' own pipeline too")
    parser.add_argument("--optimum-python", help="an interpreter that has optimum-onnx  [default: one is set up]")
    parser.add_argument("--keep", type=Path, help="keep the model in this folder, and use it if it is there")
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
