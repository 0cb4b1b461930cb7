"""Encoders beside the other engines of processors: `python -m benchmarks.peers.compare` (`make bench-peers`).

Every contender is a process of its own. Each round gives each of them every piece of work in turn, so that whatever
else the machine does falls on all alike. Ratios are our speed over the peer's in the same round: the median over
rounds, and the worst. Each variant is compared with the peers that compute in the same precision.

Latency does not depend on the values of weights, so the checkpoints have random ones. With --checkpoint and --texts the
agreement with PyTorch is measured too. What it prints is also written to benchmarks/results, as Markdown and as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.checkpoints import make_checkpoint
from benchmarks.peers.files import make_files, peers_python
from benchmarks.peers.peers_report import build_record, markdown
from benchmarks.text_sets import text_sets
from benchmarks.worker import Worker

from edgepipe.backend.machine import machine_name
from edgepipe.backend.threads import available_threads
from edgepipe_export.calibration.texts import sentences

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent
SHAPES = ((1, 16), (1, 128), (1, 512), (8, 128), (32, 128))
TEXT = "This film is a quiet triumph, and I loved it."  # 14 tokens
# Calls of a shape in a round: more where they are short.
_TOKENS = 4096
_MOST_CALLS = 20
# A label is compared where PyTorch is not undecided; a logit everywhere.
_TORCH = "torch fp32"


@dataclass(frozen=True)
class Contender:
    """One engine on one file: its name in the table, and what engines.py is called with."""

    name: str
    engine: str
    path: str
    option: str = ""
    elsewhere: bool = False
    labels: bool = True


CONTENDERS = (
    Contender("edgepipe fp32", "edgepipe", "bundle", "fp32@cpu"),
    Contender("edgepipe w8", "edgepipe", "bundle", "w8@cpu"),
    Contender("edgepipe int8", "edgepipe", "bundle", "int8@cpu"),
    Contender("edgepipe fp32, openvino", "edgepipe", "openvino-bundle", "fp32@openvino"),
    Contender("edgepipe bf16, openvino", "edgepipe", "openvino-bundle", "bf16@openvino"),
    Contender("edgepipe w8, openvino", "edgepipe", "openvino-bundle", "w8@openvino"),
    Contender("edgepipe int8-static, openvino", "edgepipe", "openvino-bundle", "int8-static@openvino"),
    Contender("onnxruntime fp32", "onnxruntime", "plain/model.onnx"),
    Contender("onnxruntime int8", "onnxruntime", "plain/model_int8.onnx"),
    Contender("OpenVINO fp32", "openvino", "openvino-fp32/openvino_model.xml", "f32", elsewhere=True),
    Contender("OpenVINO bf16", "openvino", "openvino-fp32/openvino_model.xml", "bf16", elsewhere=True),
    Contender("OpenVINO int8", "openvino", "openvino-int8/openvino_model.xml", elsewhere=True),
    Contender("CTranslate2 fp32", "ctranslate2", "ctranslate2", "float32", elsewhere=True, labels=False),
    Contender("CTranslate2 int8", "ctranslate2", "ctranslate2", "int8", elsewhere=True, labels=False),
    Contender(_TORCH, "torch", "checkpoint", "fp32"),
    Contender("torch fp32, compiled", "torch", "checkpoint", "fp32 compiled"),
    Contender("torch bf16, compiled", "torch", "checkpoint", "bf16 compiled"),
)


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads or available_threads()
    peers = arguments.peers_python or peers_python()
    wanted = [one for one in CONTENDERS if not arguments.only or any(part in one.name for part in arguments.only)]
    records = []
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        keep = arguments.keep or Path(temporary)
        for name in [str(arguments.checkpoint.name)] if arguments.checkpoint else arguments.models:
            folder = _prepare(name, arguments.checkpoint, arguments.calibration, keep / name, peers)
            if arguments.prepare:
                continue
            commands = {one.name: _command(one, folder, peers, threads) for one in wanted}
            record = _measure(name, wanted, commands, folder, arguments)
            record["starts"] = _measure_starts(wanted, commands, arguments.rounds)
            records.append(record)
    if not arguments.prepare:
        _write(build_record(records, machine_name(threads), arguments.rounds), arguments.output)


def _prepare(name: str, checkpoint: Path | None, calibration: Path | None, folder: Path, peers: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "checkpoint").exists():
        if checkpoint is not None:
            (folder / "checkpoint").symlink_to(checkpoint.resolve())
        else:
            make_checkpoint(name, folder / "checkpoint")
    texts = folder / "texts.txt"
    texts.write_text("\n".join(_read_texts(calibration)), encoding="utf-8")
    make_files(folder / "checkpoint", texts, folder, peers)
    return folder


def _read_texts(file: Path | None) -> list[str]:
    """The texts of a file, whose label may follow after a tabulator; by default those that come with the exporter."""
    if file is None:
        return list(sentences())
    return [line.rpartition("\t")[0].strip() or line for line in file.read_text(encoding="utf-8").splitlines()]


def _command(one: Contender, folder: Path, peers: Path, threads: int) -> list[str]:
    python = str(peers) if one.elsewhere else sys.executable
    tokenizer = folder / "bundle" / "tokenizer.json"
    program = str(HERE / "engines.py")
    return [python, program, one.engine, str(folder / one.path), one.option, str(tokenizer), str(threads)]


def _measure(
    name: str, wanted: list[Contender], commands: dict[str, list[str]], folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Latency of the graph at each shape, and seconds for texts of mixed lengths, of each round; agreement."""
    tokenizer = folder / "bundle" / "tokenizer.json"
    texts = text_sets(arguments.data, tokenizer, tokens=4000, least=32)[-1].texts
    work: list[tuple[str, dict[str, Any]]] = []
    for rows, tokens in SHAPES:
        calls = max(1, min(_MOST_CALLS, _TOKENS // rows // tokens))
        work.append((f"{rows}x{tokens}", {"rows": rows, "tokens": tokens, "calls": calls}))
    work.append(("texts", {"texts": texts, "batch_size": 8}))
    seconds: dict[str, dict[str, list[float]]] = {one.name: {what: [] for what, _ in work} for one in wanted}
    with ExitStack() as stack:
        running = {one.name: stack.enter_context(Worker(one.name, commands[one.name])) for one in wanted}
        for number in range(-1, arguments.rounds):
            _say(f"{name}: round {number + 1} of {arguments.rounds}" if number >= 0 else f"{name}: warming up")
            for what, request in work:
                for one in wanted:
                    if what == "texts" and not one.labels:
                        continue
                    taken = running[one.name].request(request)["seconds"]
                    if number >= 0:
                        value = statistics.median(taken) if isinstance(taken, list) else taken
                        seconds[one.name][what].append(value)
        agreement = _measure_agreement(running, wanted, arguments.texts)
    return {"model": name, "seconds": seconds, "agreement": agreement, "texts": len(texts)}


def _measure_agreement(
    running: dict[str, Worker], wanted: list[Contender], file: Path | None
) -> dict[str, dict[str, float]]:
    """How many labels are PyTorch's, and the largest and the mean difference of a logit."""
    if file is None or _TORCH not in running:
        return {}
    texts = _read_texts(file)
    logits = {one.name: np.array(running[one.name].request({"texts": texts})["logits"]) for one in wanted if one.labels}
    expected = logits[_TORCH]
    return {
        name: {
            "texts": len(texts),
            "same_label": int((found.argmax(1) == expected.argmax(1)).sum()),
            "largest": float(np.abs(found - expected).max()),
            "mean": float(np.abs(found - expected).mean()),
        }
        for name, found in logits.items()
    }


def _measure_starts(wanted: list[Contender], commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Seconds from the start of a process to its first label, of each round; one before, which fills caches."""
    found: dict[str, list[float]] = {one.name: [] for one in wanted if one.labels}
    for number in range(-1, rounds):
        _say(f"starts, round {number + 1} of {rounds}")
        for name, own in found.items():
            start = time.perf_counter()
            with Worker(name, commands[name]) as worker:
                worker.request({"texts": [TEXT], "batch_size": 1})
                if number >= 0:
                    own.append(time.perf_counter() - start)
    return found


def _write(record: dict[str, Any], output: Path) -> None:
    text = markdown(record)
    output.mkdir(parents=True, exist_ok=True)
    (output / "peers.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (output / "peers.md").write_text(text, encoding="utf-8")
    print(text)


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = ("minilm", "distilbert-base", "bert-base")
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint for text classification, in place of the models")
    parser.add_argument("--calibration", type=Path, help="texts to quantize with, one a line")
    parser.add_argument("--texts", type=Path, help="texts to measure the agreement with PyTorch on, one a line")
    parser.add_argument("--data", type=Path, default=BENCHMARKS.parents[1] / "shared" / "data")
    parser.add_argument("--only", nargs="+", metavar="PART", help="contenders whose names have one of these parts")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="[default: what the process may use]")
    parser.add_argument("--peers-python", type=Path, help="an interpreter with the peers  [default: one is set up]")
    parser.add_argument("--keep", type=Path, help="keep all files in this folder, and use those that are there")
    parser.add_argument("--prepare", action="store_true", help="make all files, and measure nothing")
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
