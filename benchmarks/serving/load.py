"""Throughput and latency of `edgepipe serve` beside a user's own servers, by wrk, in turns.

    python -m benchmarks.serving.load [--models distilbert-base minilm] [--seconds 8] [--rounds 3] [--keep FOLDER]

Each round starts each server, warms it up, and loads it with 1, 8 and 64 connections that send texts of mixed lengths
(log-normal, 8 to 128 tokens, the same for all). Random weights, which change no latency. transformers has no variants,
and is measured beside the first of them. Needs wrk (Debian's `wrk`).
Writes benchmarks/results/serving.json and serving.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import make_checkpoint, tokenizer
from benchmarks.text_sets import text_sets
from benchmarks.written_results import RESULTS, command_of, write_results

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads

HERE = Path(__file__).parent
CONNECTIONS = (1, 8, 64)
LONGEST = 128
DTYPES = ("fp32", "int8", "int8-rows", "w8")
PORT = 8199


@dataclass(frozen=True)
class Contender:
    """A server, and how it is asked."""

    name: str
    command: list[str]
    env: dict[str, str]
    path: str


def contenders(task: str, bundle: Path, checkpoint: Path, dtype: str) -> list[Contender]:
    """Ours, FastAPI around our pipeline, FastAPI around the library that the checkpoint is of."""
    uvicorn = [sys.executable, "-m", "uvicorn", "benchmarks.serving.fastapi_pipeline:app", "--port", str(PORT)]
    uvicorn += ["--log-level", "error"]
    env = {"TASK": task, "DTYPE": dtype, "THREADS": str(available_threads())}
    serve = [sys.executable, "-m", "edgepipe", "serve", f"model={bundle}", "--port", str(PORT), "--dtype", dtype]
    path = "/embed" if task == "feature-extraction" else "/models/model"
    return [
        Contender("edgepipe serve", serve, {}, path),
        Contender(
            "FastAPI, edgepipe.pipeline", uvicorn, {**env, "LIBRARY": "edgepipe", "MODEL": str(bundle)}, "/predict"
        ),
        Contender(
            "FastAPI, transformers", uvicorn, {**env, "LIBRARY": "transformers", "MODEL": str(checkpoint)}, "/predict"
        ),
    ]


@contextmanager
def running(contender: Contender, body: bytes) -> Iterator[str]:
    """The server, when it answers; gives its URL."""
    with started(contender, body) as (url, _):
        yield url


@contextmanager
def started(contender: Contender, body: bytes) -> Iterator[tuple[str, int]]:
    """The server, when it answers; gives its URL, and the number of its process."""
    url = f"http://127.0.0.1:{PORT}{contender.path}"
    process = subprocess.Popen(
        contender.command, env={**os.environ, **contender.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"{contender.name} ended: {' '.join(contender.command)}")
            try:
                request = urllib.request.Request(url, body, {"content-type": "application/json"})
                with urllib.request.urlopen(request, timeout=60) as answer:
                    answer.read()
                break
            except OSError:
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def load(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, Any]:
    """What wrk measured."""
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s", "--timeout", "60s", "-s"]
    done = subprocess.run(
        [*command, str(HERE / "requests.lua"), url],
        env={**os.environ, "BODIES": str(bodies)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["rate"] = found["requests"] / found["seconds"]
    return found


def make_bundle(name: str, folder: Path) -> tuple[str, Path, Path]:
    """The task, bundle and checkpoint of a model, made where they are not there."""
    from edgepipe_export import export

    checkpoint, bundle = folder / name / "checkpoint", folder / name / "bundle"
    task = "feature-extraction" if name == "minilm-embeddings" else "text-classification"
    if not checkpoint.is_dir():
        if name == "minilm-embeddings":
            from sentence_transformers import SentenceTransformer, models

            make_checkpoint("minilm", folder / name / "body")
            body = models.Transformer(str(folder / name / "body"))
            SentenceTransformer(modules=[body, models.Pooling(body.get_word_embedding_dimension())]).save(
                str(checkpoint)
            )
        else:
            make_checkpoint(name, checkpoint)
    if not bundle.is_dir():
        export(str(checkpoint), bundle, dtypes=DTYPES, verify=False)
    return task, bundle, checkpoint


def make_bodies(folder: Path) -> Path:
    """A file of requests, one a line: texts of mixed lengths, of at most `LONGEST` tokens."""
    tokenizer("bert").save_pretrained(folder / "tokenizer")
    [mixed] = text_sets(folder / "none", folder / "tokenizer" / "tokenizer.json", 40_000, 200)
    texts = [text for text, length in zip(mixed.texts, mixed.lengths, strict=True) if length <= LONGEST]
    bodies = folder / "bodies.jsonl"
    bodies.write_text("\n".join(json.dumps({"inputs": text}) for text in texts) + "\n", encoding="utf-8")
    return bodies


def measure(name: str, folder: Path, bodies: Path, seconds: float, rounds: int, dtypes: list[str]) -> dict[str, Any]:
    """For each variant, server and number of connections: medians over the rounds."""
    task, bundle, checkpoint = make_bundle(name, folder)
    first = bodies.read_bytes().splitlines()[0]
    found: dict[str, Any] = {}
    for dtype in dtypes:
        raw: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for number in range(rounds):
            others = contenders(task, bundle, checkpoint, dtype)
            for contender in others if dtype == dtypes[0] else others[:2]:  # transformers has no variants
                with running(contender, first) as url:
                    load(url, bodies, 2, 1)
                    for connections in CONNECTIONS:
                        result = load(url, bodies, connections, seconds)
                        raw.setdefault(contender.name, {}).setdefault(connections, []).append(result)
                        print(f"{name} {dtype} {number}: {contender.name}, {connections}: {result}", file=sys.stderr)
        found[dtype] = {
            server: {
                str(connections): {key: statistics.median(each[key] for each in each_round) for key in each_round[0]}
                for connections, each_round in by_connections.items()
            }
            for server, by_connections in raw.items()
        }
    return found


def make_page(record: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# A server under load", "", f"`{record['command']}`, on {record['machine']}.", ""]
    lines += ["Requests a second, and milliseconds of half and of 99 % of them. Ratios are ours over the others.", ""]
    for model, by_dtype in record["models"].items():
        for dtype, servers in by_dtype.items():
            lines += [
                f"## {model}, {dtype}",
                "",
                "| server | connections | requests/s | p50 | p99 | ours is | errors |",
            ]
            lines += ["|---|---|---|---|---|---|---|"]
            for server, by_connections in servers.items():
                for connections, each in by_connections.items():
                    ratio = servers["edgepipe serve"][connections]["rate"] / each["rate"]
                    lines.append(
                        f"| {server} | {connections} | {each['rate']:.0f} | {each['p50'] / 1000:.1f} | "
                        f"{each['p99'] / 1000:.1f} | {ratio:.2f} x | {each['errors']:.0f} |"
                    )
            lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["distilbert-base", "minilm-embeddings"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for checkpoints and bundles, kept for another run")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bodies = make_bodies(folder)
        models = {
            name: measure(name, folder, bodies, arguments.seconds, arguments.rounds, arguments.dtypes)
            for name in arguments.models
        }
    command = command_of("benchmarks.serving.load", sys.argv[1:])
    record = {"command": command, "machine": machine_name(), "models": models}
    write_results(arguments.output, "serving", record, make_page(record))


if __name__ == "__main__":
    main()
