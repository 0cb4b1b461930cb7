"""Where the processor's time goes under load: the graph, the rest of the server, and who asks it.

    python -m benchmarks.serving.processor_time [--models distilbert-base minilm-embeddings] [--seconds 5]

The graph alone, on one thread, reads the texts of `benchmarks.serving.load`, one after another, and then on as many
threads side by side as there are processors: a server that puts one text a run through it answers no more requests a
second. Then `edgepipe serve` and FastAPI around our pipeline answer eight connections, while the processor's time of
each process is read. What a request takes of it beside the graph's own is HTTP, JSON, tokens and results. Variants and
servers in turn, several rounds; medians. Writes benchmarks/results/serving-processor.json and serving-processor.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.serving.load import DTYPES, contenders, load, make_bodies, make_bundle, started
from benchmarks.written_results import RESULTS, command_of, write_results

from edgepipe import pipeline
from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

CONNECTIONS = 8
_TICKS = os.sysconf("SC_CLK_TCK")


def time_graph(task: str, bundle: Path, dtype: str, texts: list[str], seconds: float) -> dict[str, float]:
    """Milliseconds of the processor for a request of the graph alone, and requests a second of all processors."""
    threads = available_threads()
    with pipeline(task, bundle, dtype=dtype, num_threads=1, workers=threads, verify="never") as loaded:
        pieces = [loaded.encode_input(text, loaded.settings({})).pieces[0] for text in texts]
        feeds = [{name: np.array([values]) for name, values in piece.items()} for piece in pieces]

        def run(first: int) -> None:
            for place in range(first, len(feeds), threads):
                loaded.model(**feeds[place])

        for feed in feeds[:20]:
            loaded.model(**feed)
        spent, begin, passes = 0.0, time.perf_counter(), 0
        while time.perf_counter() - begin < seconds / 2:
            before = time.thread_time()
            for feed in feeds:
                loaded.model(**feed)
            spent += time.thread_time() - before
            passes += 1
        alone = spent / passes / len(feeds)
        begin, passes = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds / 2:
            running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
            for each in running:
                each.start()
            for each in running:
                each.join()
            passes += 1
        rate = passes * len(feeds) / (time.perf_counter() - begin)
    return {"graph": alone * 1000, "rate": rate}


def time_process(process: int) -> float:
    """Seconds of the processor that a process has taken."""
    fields = (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def time_server(url: str, process: int, bodies: Path, seconds: float) -> dict[str, float]:
    """Milliseconds of the processor for a request, of the server and of wrk; and what all processors were idle."""
    load(url, bodies, CONNECTIONS, 1)
    before, asking = time_process(process), resource.getrusage(resource.RUSAGE_CHILDREN)
    found = load(url, bodies, CONNECTIONS, seconds)
    spent, asked = time_process(process) - before, resource.getrusage(resource.RUSAGE_CHILDREN)
    wrk = asked.ru_utime + asked.ru_stime - asking.ru_utime - asking.ru_stime
    idle = 1 - (spent + wrk) / (available_threads() * found["seconds"])
    requests = found["requests"]
    return {"rate": found["rate"], "server": 1000 * spent / requests, "wrk": 1000 * wrk / requests, "idle": idle}


def measure(name: str, folder: Path, bodies: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """For each variant: the graph alone, and both servers."""
    task, bundle, checkpoint = make_bundle(name, folder)
    lines = bodies.read_bytes().splitlines()
    texts = [json.loads(line)["inputs"] for line in lines]
    raw: dict[str, dict[str, list[dict[str, float]]]] = {dtype: {} for dtype in DTYPES}
    for number in range(rounds):
        for dtype, found in raw.items():
            found.setdefault("graph alone", []).append(time_graph(task, bundle, dtype, texts, seconds))
            for contender in contenders(task, bundle, checkpoint, dtype)[:2]:
                with started(contender, lines[0]) as (url, process):
                    found.setdefault(contender.name, []).append(time_server(url, process, bodies, seconds))
            print(f"{name} {dtype} {number}: { ({key: each[-1] for key, each in found.items()}) }", file=sys.stderr)
    return {
        dtype: {
            which: {key: statistics.median(each[key] for each in rounds_) for key in rounds_[0]}
            for which, rounds_ in found.items()
        }
        for dtype, found in raw.items()
    }


def make_page(record: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# The processor's time under load", "", f"`{record['command']}`, on {record['machine']}.", ""]
    lines += [
        f"Milliseconds of the processor for a request, at {CONNECTIONS} connections. The graph's are those of one "
        "thread alone, and its requests a second those of one thread a processor. The rest is what a server takes "
        "more.",
        "",
        "| model | variant | server | requests/s | of the graph's | graph | rest | share of the rest | wrk | idle |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, by_dtype in record["models"].items():
        for dtype, found in by_dtype.items():
            graph = found["graph alone"]
            lines.append(
                f"| {model} | {dtype} | the graph alone | {graph['rate']:.0f} | 1.00 | {graph['graph']:.2f} | | | | |"
            )
            for which, each in found.items():
                if which == "graph alone":
                    continue
                rest = each["server"] - graph["graph"]
                lines.append(
                    f"| {model} | {dtype} | {which} | {each['rate']:.0f} | {each['rate'] / graph['rate']:.2f} | "
                    f"{graph['graph']:.2f} | {rest:.2f} | {rest / each['server']:.0%} | {each['wrk']:.2f} | "
                    f"{each['idle']:.0%} |"
                )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["distilbert-base", "minilm-embeddings"])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for checkpoints and bundles, kept for another run")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bodies = make_bodies(folder)
        models = {name: measure(name, folder, bodies, arguments.seconds, arguments.rounds) for name in arguments.models}
    command = command_of("benchmarks.serving.processor_time", sys.argv[1:])
    record = {"command": command, "machine": machine_name(), "models": models}
    write_results(arguments.output, "serving-processor", record, make_page(record))


if __name__ == "__main__":
    main()
