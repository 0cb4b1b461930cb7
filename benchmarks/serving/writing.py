"""Tokens a second of `edgepipe serve` with one client and with several, which share steps.

    python -m benchmarks.serving.writing [--clients 8] [--rounds 3] [--tokens 64] [--keep FOLDER]

A model of GPT-2's size in w8 with random weights; greedy completions by OpenAI's route, whole. In turns.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.generation.generation_checkpoints import make_apart
from benchmarks.serving.load import PORT, Contender, running

PROMPT = "The quick brown fox jumps over the lazy dog, and then it"


def write(clients: int, tokens: int, texts: int) -> float:
    """Tokens a second of all clients together, each writing so many texts."""

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        for text in range(texts):
            body = {"model": "model", "prompt": f"{PROMPT} {number} {text}", "max_tokens": tokens, "temperature": 0}
            connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            counts.append(answer["usage"]["completion_tokens"])

    counts: list[int] = []
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="folder for the bundle, kept for another run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)) / "gpt2"
        make_apart("gpt2", folder)
        bundle = folder / "bundle"
        command = [sys.executable, "-m", "edgepipe", "serve", f"model={bundle}", "--port", str(PORT), "--dtype", "w8"]
        body = json.dumps({"model": "model", "prompt": PROMPT, "max_tokens": 4}).encode()
        found: dict[int, list[float]] = {1: [], arguments.clients: []}
        with running(Contender("edgepipe serve", command, {}, "/v1/completions"), body):
            for _ in range(arguments.rounds):
                for clients, rates in found.items():
                    rates.append(write(clients, arguments.tokens, 2))
                    print(f"{clients} clients: {rates[-1]:.1f} tokens a second", file=sys.stderr)
    one, several = (statistics.median(rates) for rates in found.values())
    print(f"1 client {one:.1f}, {arguments.clients} clients {several:.1f} tokens a second: {several / one:.2f} x")


if __name__ == "__main__":
    main()
