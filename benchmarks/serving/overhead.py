"""What HTTP, queue and threads add to a request: the embedded model behind `edgepipe serve` beside its pipeline.

    python -m benchmarks.serving.overhead [--rounds 7]

One text, one connection, in turns; medians of the medians of each round.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving.load import PORT, Contender, running

from edgepipe import pipeline
from edgepipe_models import default_bundle

TEXT = "I love this film, and everybody in it."
CALLS = 200


def median(run: Callable[[], object]) -> float:
    """Of many calls, in milliseconds."""
    found = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return statistics.median(found) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    body = json.dumps({"inputs": TEXT}).encode()
    bundle: Path = default_bundle()
    command = [sys.executable, "-m", "edgepipe", "serve", f"model={bundle}", "--port", str(PORT)]
    with running(Contender("edgepipe serve", command, {}, "/models/model"), body), pipeline() as classify:
        connection = http.client.HTTPConnection("127.0.0.1", PORT)

        def ask() -> None:
            connection.request("POST", "/models/model", body, {"content-type": "application/json"})
            connection.getresponse().read()

        served, alone = [], []
        for _ in range(rounds):
            served.append(median(ask))
            alone.append(median(lambda: classify(TEXT)))
    one, other = statistics.median(served), statistics.median(alone)
    print(f"served {one:.2f} ms, pipeline {other:.2f} ms: {one - other:.2f} ms more, Python's client included")


if __name__ == "__main__":
    main()
