"""Encoders beside the other engines of processors: `python -m benchmarks.peers.compare` (`make bench-peers`).

Every contender is a process of its own. Each round gives each of them every piece of work in turn, so that whatever
else the machine does falls on all alike, and measures the processor's peak. Ratios are our speed over the peer's in the
same round: the median over rounds, and the worst. Each variant is compared with the peers that compute in the same
precision (:mod:`benchmarks.peers.sections`).

Latency does not depend on the values of weights, so checkpoints for text classification have random ones; the one for
sentences has its own. With --texts the agreement with PyTorch is measured too, with --checkpoint that of a real one.
What it prints is also written to benchmarks/results, as Markdown and as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.checkpoints import make_checkpoint, sentence_checkpoint
from benchmarks.peers.files import engine_command, make_files, missing
from benchmarks.peers.peers_report import build_record, markdown
from benchmarks.peers.sections import MODELS, SENTENCES, Contender, Section, section_of
from benchmarks.text_sets import DATA, text_sets
from benchmarks.turns import print_progress
from benchmarks.worker import Worker, measure_starts

from edgepipe.backend.machine import machine_name
from edgepipe.backend.session import SessionConfig
from edgepipe.backend.threads import available_threads
from edgepipe.benchmarking.peak import measure_peak
from edgepipe.bundle.directory import Bundle
from edgepipe.models.variants import load_graph, profile_variant
from edgepipe_export.calibration.texts import sentences

BENCHMARKS = Path(__file__).parents[1]
SHAPES = ((1, 16), (1, 128), (1, 512), (8, 128), (32, 128))
TEXT = "This film is a quiet triumph, and I loved it."  # 14 tokens
# Calls of a shape in a round: more where they are short.
_TOKENS = 4096
_MOST_CALLS = 20
# What has the peak of each precision: a dtype, and the device whose engine multiplies it.
_PEAKS = {"fp32": ("fp32", "cpu"), "bf16": ("bf16", "openvino"), "int8": ("int8", "cpu")}

Commands = dict[str, list[str]]


def main() -> None:
    arguments = _arguments()
    threads = arguments.threads or available_threads()
    records, left_out = [], {}
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as temporary:
        keep = arguments.keep or Path(temporary)
        for name in [str(arguments.checkpoint.name)] if arguments.checkpoint else arguments.models:
            section = section_of(name)
            wanted = choose(section, arguments.only)
            left_out |= {one.name: missing(one) for one in wanted if missing(one)}
            wanted = [one for one in wanted if one.name not in left_out]
            if not wanted:
                continue
            folder = _prepare(name, section, wanted, keep / name, arguments)
            if arguments.prepare:
                continue
            commands = {one.name: _command(one, folder, arguments.peers_python, threads) for one in wanted}
            record = _measure(name, section, wanted, commands, folder, threads, arguments)
            starting = {one.name: commands[one.name] for one in wanted if one.reads_texts}
            record["starts"] = measure_starts(starting, {"texts": [TEXT], "batch_size": 1}, arguments.rounds)
            records.append(record)
    for contender, reason in left_out.items():
        print(f"{contender} is left out: {reason}", file=sys.stderr)
    if not arguments.prepare:
        _write(build_record(records, machine_name(threads), arguments.rounds, left_out), arguments.output)


def choose(section: Section, only: Collection[str] | None) -> list[Contender]:
    """The contenders whose names have one of the parts; all without any."""
    return [one for one in section.contenders if not only or any(part in one.name for part in only)]


def _prepare(
    name: str, section: Section, wanted: Collection[Contender], folder: Path, arguments: argparse.Namespace
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = sentence_checkpoint() if section is SENTENCES else arguments.checkpoint
    if not (folder / "checkpoint").exists():
        if checkpoint is not None:
            (folder / "checkpoint").symlink_to(checkpoint.resolve())
        else:
            make_checkpoint(name, folder / "checkpoint")
    (folder / "texts.txt").write_text("\n".join(_read_texts(arguments.calibration)), encoding="utf-8")
    make_files(section, wanted, folder, arguments.peers_python)
    return folder


def _read_texts(file: Path | None) -> list[str]:
    """The texts of a file, whose label may follow after a tabulator; by default those that come with the exporter."""
    if file is None:
        return list(sentences())
    return [line.rpartition("\t")[0].strip() or line for line in file.read_text(encoding="utf-8").splitlines()]


def _command(one: Contender, folder: Path, peers: Path | None, threads: int) -> list[str]:
    tokenizer = folder / "bundle" / "tokenizer.json"
    arguments = [one.engine, str(folder / one.path), one.option, str(tokenizer), str(threads)]
    return [*engine_command(one.environment, peers), *arguments]


def _measure(
    name: str,
    section: Section,
    wanted: Sequence[Contender],
    commands: Commands,
    folder: Path,
    threads: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Each round's latency of the graph at each shape, seconds for texts of mixed lengths, and peaks; agreement."""
    tokenizer = folder / "bundle" / "tokenizer.json"
    texts = text_sets(arguments.data, tokenizer, tokens=4000, least=32)[-1].texts
    work: list[tuple[str, dict[str, Any]]] = []
    for rows, tokens in SHAPES if section.shapes else ():
        calls = max(1, min(_MOST_CALLS, _TOKENS // rows // tokens))
        work.append((f"{rows}x{tokens}", {"rows": rows, "tokens": tokens, "calls": calls}))
    work.append(("texts", {"texts": texts, "batch_size": 8}))
    seconds: dict[str, dict[str, list[float]]] = {one.name: {what: [] for what, _ in work} for one in wanted}
    precisions = {one.name: one.precision for one in wanted if one.precision}
    peaks: dict[str, list[float]] = {precision: [] for precision in sorted({*precisions.values()})}
    with ExitStack() as stack:
        running = {one.name: stack.enter_context(Worker(one.name, commands[one.name])) for one in wanted}
        for number in range(-1, arguments.rounds):
            print_progress(
                f"{name}: round {number + 1} of {arguments.rounds}" if number >= 0 else f"{name}: warming up"
            )
            for precision, own in peaks.items():
                dtype, device = _PEAKS[precision]
                _, peak = measure_peak(dtype, SessionConfig(device, threads))
                if number >= 0:
                    own.append(peak)
            for what, request in work:
                # In another order each time: threads of an engine may spin for a while, and slow whoever comes next.
                for one in random.sample(wanted, len(wanted)):
                    if what == "texts" and not one.reads_texts:
                        continue
                    taken = running[one.name].request(request)["seconds"]
                    if number >= 0:
                        value = statistics.median(taken) if isinstance(taken, list) else taken
                        seconds[one.name][what].append(value)
        agreement = _measure_agreement(running, section, wanted, arguments.texts)
    return {
        "model": name,
        "task": section.task,
        "seconds": seconds,
        "agreement": agreement,
        "texts": len(texts),
        "operations": count_operations(folder / "bundle") if precisions else {},
        "precisions": precisions,
        "peaks": peaks,
    }


def count_operations(bundle_path: Path) -> dict[str, int]:
    """Additions and multiplications of the products of the fp32 graph, at each shape: what any engine has to do."""
    bundle, config = Bundle.load(bundle_path), SessionConfig("cpu")
    names = list(load_graph(bundle, "fp32", config).inputs)
    found = {}
    for rows, tokens in SHAPES:
        feeds = {name: np.full((rows, tokens), name != "token_type_ids", np.int64) for name in names}
        operators = profile_variant(bundle, "fp32", config, feeds, 1).operators
        found[f"{rows}x{tokens}"] = sum(each.operations for each in operators)
    return found


def _measure_agreement(
    running: dict[str, Worker], section: Section, wanted: Sequence[Contender], file: Path | None
) -> dict[str, dict[str, float]]:
    """How near results are to the reference's: the largest and the mean difference of a value, and equal labels.

    Vectors of sentences have no labels, but the cosine of the angle between the two that are farthest apart.
    """
    if file is None or section.reference not in running:
        return {}
    texts = _read_texts(file)
    outputs = {
        one.name: np.array(running[one.name].request({"texts": texts})["outputs"]) for one in wanted if one.reads_texts
    }
    return {name: compare_outputs(section, found, outputs[section.reference]) for name, found in outputs.items()}


def compare_outputs(section: Section, found: Any, expected: Any) -> dict[str, float]:
    """How near the results of texts are to others, float32[texts, values] each."""
    values = {"texts": len(found)}
    if section is SENTENCES:
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        own = {"least_cosine": float(((found * expected).sum(1) / lengths).min())}
    else:
        own = {"same_label": int((found.argmax(1) == expected.argmax(1)).sum())}
    difference = np.abs(found - expected)
    return values | own | {"largest": float(difference.max()), "mean": float(difference.mean())}


def _write(record: dict[str, Any], output: Path) -> None:
    text = markdown(record)
    output.mkdir(parents=True, exist_ok=True)
    (output / "peers.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (output / "peers.md").write_text(text, encoding="utf-8")
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=(*MODELS, "tiny"), default=MODELS)
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint for text classification, in place of the models")
    parser.add_argument("--calibration", type=Path, help="texts to quantize with, one a line")
    parser.add_argument("--texts", type=Path, help="texts to measure the agreement with PyTorch on, one a line")
    parser.add_argument("--data", type=Path, default=DATA)
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
