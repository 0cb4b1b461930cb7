"""Many requests side by side: `python -m benchmarks.callers BUNDLE` measures what `workers=` is worth.

The same texts go through a pipeline of one worker, who has all threads, and through one with a worker for each thread:

- 32 texts in a list, one at a time, and the same texts from eight threads that call;
- lists of mixed lengths in batches of eight, beside the graph alone on the same padded batches, as many side by side.

With OpenVINO a script in its THROUGHPUT mode, with requests that it keeps running itself, answers the 32 texts too.
Everything is measured in turns. It also says whether the results have the same bits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.text_sets import DATA, text_sets
from benchmarks.turns import ROUNDS, format_medians, measure_medians

from edgepipe import pipeline
from edgepipe.backend.threads import available_threads
from edgepipe.bundle.directory import Bundle

REQUESTS, CALLERS, BATCH_SIZE = 32, 8, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dtype")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument("--data", type=Path, default=DATA, help="folder of sst2/dev.tsv")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    given = {"model": arguments.bundle, "dtype": arguments.dtype, "device": arguments.device}
    alone = pipeline(**given, num_threads=arguments.threads)
    beside = pipeline(**given, num_threads=1, workers=arguments.threads)
    print(f"{alone.model}, {arguments.threads} workers of one thread beside one of {arguments.threads}")
    sets = text_sets(arguments.data, arguments.bundle / "tokenizer.json", tokens=4000, least=REQUESTS)
    requests = sets[0].texts[:REQUESTS]
    runs: dict[str, Callable[[], object]] = {
        "one worker": lambda: alone(requests),
        "workers": lambda: beside(requests),
        "one worker, callers": lambda: call_from_threads(alone, requests),
        "workers, callers": lambda: call_from_threads(beside, requests),
    }
    if arguments.device == "openvino":
        runs["THROUGHPUT script"] = throughput_script(arguments.bundle, alone, requests)
    show(f"{REQUESTS} texts of {sets[0].name}", runs, arguments.rounds)
    for each in sets:
        lists = {
            "one worker": lambda texts=each.texts: alone(texts, batch_size=BATCH_SIZE),
            "its graph": replay(alone, each.texts, 1),
            "workers": lambda texts=each.texts: beside(texts, batch_size=BATCH_SIZE),
            "their graph": replay(beside, each.texts, arguments.threads),
        }
        show(f"{len(each.texts)} texts, {each.name}, batches of {BATCH_SIZE}", lists, arguments.rounds)
        same = alone(each.texts, batch_size=BATCH_SIZE) == beside(each.texts, batch_size=BATCH_SIZE)
        print(f"  results have {'the same' if same else 'OTHER'} bits")


def show(what: str, runs: dict[str, Callable[[], object]], rounds: int) -> None:
    found = measure_medians(runs, rounds, calls=3)
    print(f"{what}: {format_medians(found, next(iter(found)), 'ms', 1e3, 1)}")


def call_from_threads(classify: Any, texts: list[str]) -> list[Any]:
    """A call for each text, from several threads."""
    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(classify, texts))


def replay(classify: Any, texts: list[str], side_by_side: int) -> Callable[[], object]:
    """The graph's runs alone, of what a pipeline feeds it for texts."""
    session = classify.model.session
    fed: list[Any] = []
    with recorded(session, fed):
        classify(texts, batch_size=BATCH_SIZE)
    if side_by_side == 1:
        return lambda: [session.run(feeds) for feeds in fed]
    pool = ThreadPoolExecutor(side_by_side)
    return lambda: list(pool.map(session.run, fed))


@contextmanager
def recorded(session: Any, fed: list[Any]) -> Iterator[None]:
    """Keep what a session is fed within the block."""
    run = session.run

    def keep(feeds: Any) -> Any:
        fed.append(feeds)
        return run(feeds)

    session.run = keep
    try:
        yield
    finally:
        del session.run


def throughput_script(bundle: Path, classify: Any, texts: list[str]) -> Callable[[], object]:
    """What OpenVINO's documentation shows for throughput, around the graph of a bundle in the same precision."""
    from openvino import AsyncInferQueue, Core

    from edgepipe.models.variants import stored_variant

    core = Core()
    graph = Bundle.load(bundle).graph(stored_variant(classify.model.dtype, classify.model._session_config))
    precision = classify.model.session._compiled.get_property("INFERENCE_PRECISION_HINT")
    config = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(str(graph), "CPU", config)
    queue = AsyncInferQueue(compiled)
    best: dict[int, int] = {}
    queue.set_callback(lambda request, number: best.update({number: int(request.get_output_tensor(0).data.argmax())}))
    names = [port.get_any_name() for port in compiled.inputs]

    def run() -> dict[int, int]:
        for number, text in enumerate(texts):
            ids = np.array([classify.tokenizer(text)["input_ids"]])
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            queue.start_async({name: given.get(name, np.zeros_like(ids)) for name in names}, number)
        queue.wait_all()
        return best

    return run


if __name__ == "__main__":
    main()
