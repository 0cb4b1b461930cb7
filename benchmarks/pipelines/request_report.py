"""The table, and how it stands against the targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from benchmarks.pipelines.contenders import Contender, Run

BAR = "script"
OURS = "edgepipe fp32"
LOW = "edgepipe fp32, low memory"

PACKAGES = ("edgepipe", "onnxruntime", "tokenizers", "numpy", "transformers", "torch")
OPTIMUM_VERSIONS = "0.1.0 (on transformers 4.57.6, and the same torch and onnxruntime)"


@dataclass(frozen=True)
class Result:
    """One model: who ran, their runs by name, and what overhead.py measured."""

    model: str
    contenders: list[Contender]
    runs: dict[str, list[Run]]
    overhead: dict[str, float]


def build_record(results: list[Result], machine: str, rounds: int, *, with_optimum: bool) -> dict[str, Any]:
    """Everything as one object for JSON: times in milliseconds, sizes in bytes, medians with smallest and largest."""
    return {
        "machine": machine,
        "versions": versions(with_optimum=with_optimum),
        "rounds": rounds,
        "models": [
            {
                "model": result.model,
                "contenders": [
                    {"name": contender.name, "bytes": contender.bytes} | _summarize(result.runs[contender.name])
                    for contender in result.contenders
                ],
                "same_session": result.overhead,
                "targets": _targets(result),
            }
            for result in results
        ],
    }


def versions(*, with_optimum: bool) -> dict[str, str]:
    """What the figures hold for."""
    found = {package: version(package) for package in PACKAGES}
    return found | {"optimum-onnx": OPTIMUM_VERSIONS} if with_optimum else found


def _summarize(runs: list[Run]) -> dict[str, Any]:
    fields = {"start_ms": [run.start_s * 1e3 for run in runs]}
    for name in ("request_ms", "p95_ms", "peak_bytes", "anonymous_bytes"):
        fields[name] = [run.measured[name] for run in runs if run.measured.get(name) is not None]
    return {"runs": len(runs)} | {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)} if values else None
        for name, values in fields.items()
    }


def _targets(result: Result) -> list[dict[str, Any]]:
    """What the project promises of one request beside the script, each with what was measured."""

    def ratio(name: str, value: Callable[[Run], float | None]) -> float | None:
        """The median of the ratios to the script's run in the same round."""
        bar = {run.round: value(run) for run in result.runs[BAR]}
        ratios = [one / other for run in result.runs[name] if (one := value(run)) and (other := bar.get(run.round))]
        return statistics.median(ratios) if ratios else None

    targets: list[dict[str, Any]] = []
    if result.model == "tiny":
        targets.append(_target("one request, same session: added", result.overhead["added_us"], 150, "µs"))
    else:
        targets.append(_target("one request, same session", result.overhead["ratio"], 1.05, "x"))
        targets.append(_target("one request", ratio(OURS, lambda run: run.measured.get("request_ms")), 1.05, "x"))
    targets.append(_target("process start to first label", ratio(OURS, lambda run: run.start_s), 1.0, "x"))
    if result.model != "tiny":  # of a tiny model's memory nearly all is the interpreter and the libraries
        peak, low = (lambda run: run.measured["peak_bytes"]), (lambda run: run.measured["anonymous_bytes"])
        targets.append(_target("peak memory", ratio(OURS, peak), 0.65, "x"))
        targets.append(_target("low memory: anonymous memory", ratio(LOW, low), 0.2, "x"))
    return targets


def _target(what: str, measured: float | None, bound: float, unit: str) -> dict[str, Any]:
    met = None if measured is None else measured <= bound
    return {"what": what, "measured": measured, "bound": bound, "unit": unit, "met": met}


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    every = ", ".join(f"{name} {found}" for name, found in record["versions"].items())
    lines = [
        "# One request of 14 tokens, text-classification",
        "",
        f"{record['machine']}.",
        f"{every}.",
        f"Medians; every contender ran in {record['rounds']} processes, transformers and optimum in a third",
        "as many, in turns. Private memory is what no file backs, after the first label.",
        "Made by `python -m benchmarks.pipelines.request`.",
        "",
    ]
    for model in record["models"]:
        same = model["same_session"]
        lines += [f"## {model['model']}", ""]
        headers = ["", "one request", "95th percentile", "start to first label", "peak memory", "private", "files"]
        lines += rows(headers, [_cells(contender) for contender in model["contenders"]])
        lines += [
            "",
            f"In one process and on one session, in turns: ours {same['ours_us']:.0f} µs, the script "
            f"{same['script_us']:.0f} µs; ours adds {same['added_us']:.0f} µs.",
            "",
        ]
        headers = ["beside the script", "measured", "at most", "met"]
        lines += [*rows(headers, [_verdict(target) for target in model["targets"]]), ""]
    return "\n".join(lines)


def _cells(contender: dict[str, Any]) -> list[str]:
    def format_median(field: str, scale: float, form: str) -> str:
        entry = contender[field]
        return "-" if entry is None else form.format(entry["median"] / scale)

    return [
        contender["name"],
        format_median("request_ms", 1, "{:.2f} ms"),
        format_median("p95_ms", 1, "{:.2f} ms"),
        format_median("start_ms", 1e3, "{:.2f} s"),
        format_median("peak_bytes", 1e6, "{:.0f} MB"),
        format_median("anonymous_bytes", 1e6, "{:.0f} MB"),
        f"{contender['bytes'] / 1e6:.1f} MB",
    ]


def _verdict(target: dict[str, Any]) -> list[str]:
    form = "{:.0f} µs" if target["unit"] == "µs" else "{:.3f} x"
    measured = "-" if target["measured"] is None else form.format(target["measured"])
    met = {None: "-", True: "yes", False: "**no**"}[target["met"]]
    return [target["what"], measured, form.format(target["bound"]), met]


def rows(headers: list[str], table: list[list[str]]) -> list[str]:
    """A table in Markdown: the first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(headers) - 1)]
    return [f"| {' | '.join(row)} |" for row in (headers, rule, *table)]
