"""The table of throughput.py, and how it stands against the target."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.pipelines.contenders import Contender
from benchmarks.pipelines.request_report import rows, versions
from benchmarks.text_sets import TextSet

OURS = "edgepipe fp32"
OPTIMUM = "optimum-onnx"
TARGET = 1.5


@dataclass(frozen=True)
class Timing:
    """Seconds that a contender took for a set of texts, once."""

    contender: str
    texts: str
    batch_size: int
    seconds: float


def build_record(
    model: str, everyone: list[Contender], sets: list[TextSet], timings: list[Timing], machine: str, rounds: int
) -> dict[str, Any]:
    """Everything as one object for JSON: tokens a second, medians with smallest and largest."""
    results = []
    for batch_size in sorted({timing.batch_size for timing in timings}):
        for texts in sets:
            tokens = sum(texts.lengths)
            times = {
                contender.name: [
                    timing.seconds
                    for timing in timings
                    if (timing.contender, timing.texts, timing.batch_size) == (contender.name, texts.name, batch_size)
                ]
                for contender in everyone
            }
            # Of the two in one round: what else the machine did then fell on both.
            ratio = statistics.median(theirs / ours for theirs, ours in zip(times[OPTIMUM], times[OURS], strict=True))
            speeds = {name: _summarize([tokens / seconds for seconds in times[name]]) for name in times}
            results.append(
                {
                    "texts": texts.name,
                    "batch_size": batch_size,
                    "tokens_per_second": speeds,
                    "ratio": ratio,
                    "target": TARGET,
                    "met": ratio >= TARGET,
                }
            )
    return {
        "model": model,
        "machine": machine,
        "versions": versions(with_optimum=True),
        "rounds": rounds,
        "sets": [
            {
                "name": texts.name,
                "texts": len(texts.texts),
                "tokens": sum(texts.lengths),
                "median_length": statistics.median(texts.lengths),
                "longest": max(texts.lengths),
            }
            for texts in sets
        ],
        "results": results,
    }


def _summarize(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    found = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        f"# Many texts of mixed lengths, text-classification, {record['model']}",
        "",
        f"{record['machine']}.",
        f"{found}.",
        f"Tokens a second, without padding, and the ratio of {OURS} to {OPTIMUM} in the same round: medians of",
        f"{record['rounds']} rounds in turns. Made by `python -m benchmarks.pipelines.throughput`.",
        "",
    ]
    table = [
        [texts["name"], str(texts["texts"]), str(texts["tokens"]), f"{texts['median_length']:g}", str(texts["longest"])]
        for texts in record["sets"]
    ]
    lines += [*rows(["set", "texts", "tokens", "median length", "longest"], table), ""]
    names = list(record["results"][0]["tokens_per_second"])
    table = [
        [
            result["texts"],
            str(result["batch_size"]),
            *(f"{result['tokens_per_second'][name]['median']:.0f}" for name in names),
            f"{result['ratio']:.2f} x",
            f"{result['target']:.1f} x",
            "yes" if result["met"] else "**no**",
        ]
        for result in record["results"]
    ]
    lines += [*rows(["set", "batch size", *names, f"beside {OPTIMUM}", "at least", "met"], table), ""]
    return "\n".join(lines)
