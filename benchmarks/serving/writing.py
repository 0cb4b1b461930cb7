"""Tokens a second of `edgepipe serve` and of llama-cpp-python's server, with one client and with several.

    python -m benchmarks.serving.writing [--clients 8] [--rounds 3] [--tokens 64] [--keep FOLDER]

A model of GPT-2's size with random weights, ours in `w8`, theirs in Q8_0; greedy completions by OpenAI's route, whole,
two prompts a client. Each round starts each server in turn, with as many threads as there are processors.
llama-cpp-python is built in an environment of its own, which takes minutes. Writes
benchmarks/results/serving-writing.json and serving-writing.md.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import llama_python, run
from benchmarks.generation.generation_checkpoints import make_apart
from benchmarks.peers.writing.writer_files import WRITE_GGUF
from benchmarks.serving.load import PORT, Contender, running
from benchmarks.written_results import RESULTS, command_of, write_results

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

PROMPT = "The quick brown fox jumps over the lazy dog, and then it"
ROUTE = "/v1/completions"


@dataclass(frozen=True)
class Writer:
    """A server, and what is said to it beside the prompt, so that it does what the others do."""

    contender: Contender
    options: dict[str, Any]


def writers(folder: Path) -> list[Writer]:
    """Ours and theirs, on files of one checkpoint that are made where they are not there."""
    make_apart("gpt2", folder)
    python, file = llama_python(), folder / "model-q8_0.gguf"
    if not file.is_file():
        run([str(python), str(WRITE_GGUF), str(folder / "checkpoint"), str(file), "q8_0"])
    threads = str(available_threads())
    ours = [sys.executable, "-m", "edgepipe", "serve", f"model={folder / 'bundle'}", "--port", str(PORT)]
    theirs = [str(python), "-m", "llama_cpp.server", "--model", str(file), "--model_alias", "model"]
    theirs += ["--port", str(PORT), "--host", "127.0.0.1", "--n_ctx", "1024"]
    return [
        Writer(Contender("edgepipe serve, w8", [*ours, "--dtype", "w8", "--threads", threads], {}, ROUTE), {}),
        Writer(
            Contender(
                "llama_cpp.server, Q8_0", [*theirs, "--n_threads", threads, "--n_threads_batch", threads], {}, ROUTE
            ),
            {"repeat_penalty": 1.0},
        ),
    ]


def write(clients: int, tokens: int, texts: int, options: dict[str, Any]) -> float:
    """Tokens a second of all clients together, each of which has so many texts written."""

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        for text in range(texts):
            prompt = f"{PROMPT} {number} {text}"
            body = {"model": "model", "prompt": prompt, "max_tokens": tokens, "temperature": 0, **options}
            connection.request("POST", ROUTE, json.dumps(body), {"content-type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            counts.append(answer["usage"]["completion_tokens"])

    counts: list[int] = []
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    if counts != [tokens] * clients * texts:
        raise SystemExit(f"{tokens} tokens each were wanted, and these came: {counts}")
    return sum(counts) / seconds


def make_page(record: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# Clients that write together", "", f"`{record['command']}`, on {record['machine']}.", ""]
    lines += ["Tokens a second of all clients together: medians of the rounds, and the least and the most.", ""]
    lines += ["| server | clients | tokens/s | least | most | beside one client |", "|---|---|---|---|---|---|"]
    for server, by_clients in record["servers"].items():
        alone = statistics.median(next(iter(by_clients.values())))
        for clients, rates in by_clients.items():
            middle, least, most = statistics.median(rates), min(rates), max(rates)
            figures = f"{middle:.0f} | {least:.0f} | {most:.0f} | {middle / alone:.2f} x"
            lines.append(f"| {server} | {clients} | {figures} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="folder for the bundle, kept for another run")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(arguments.rounds):
            for writer in writers((arguments.keep or Path(temporary)) / "gpt2"):
                first = {"model": "model", "prompt": PROMPT, "max_tokens": 4, **writer.options}
                with running(writer.contender, json.dumps(first).encode()):
                    for clients in (1, arguments.clients):
                        rate = write(clients, arguments.tokens, 2, writer.options)
                        found.setdefault(writer.contender.name, {}).setdefault(str(clients), []).append(rate)
                        print(f"{number}: {writer.contender.name}, {clients}: {rate:.1f}", file=sys.stderr)
    command = command_of("benchmarks.serving.writing", sys.argv[1:])
    record = {"command": command, "machine": machine_name(), "servers": found}
    write_results(arguments.output, "serving-writing", record, make_page(record))


if __name__ == "__main__":
    main()
