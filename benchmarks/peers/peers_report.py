"""The tables of compare.py: what each contender takes, and our speed over each peer's that does the same."""

from __future__ import annotations

import statistics
from importlib.metadata import version
from typing import Any

from benchmarks.peers.files import CTRANSLATE2, OPENVINO

# Ours, and the peers that compute with the same precision.
PAIRS = {
    "edgepipe int8-static, openvino": ("OpenVINO int8",),
    "edgepipe bf16, openvino": ("OpenVINO bf16", "torch bf16, compiled"),
    "edgepipe fp32, openvino": ("OpenVINO fp32",),
    "edgepipe int8": ("onnxruntime int8", "OpenVINO int8", "CTranslate2 int8"),
    "edgepipe fp32": ("onnxruntime fp32", "OpenVINO fp32", "CTranslate2 fp32", "torch fp32", "torch fp32, compiled"),
}
_PACKAGES = ("edgepipe", "onnxruntime", "tokenizers", "numpy", "torch")
_TEXTS, _START = "texts", "start"


def build_record(models: list[dict[str, Any]], machine: str, rounds: int) -> dict[str, Any]:
    """Everything as one object for JSON: seconds of each round, and the ratios of pairs."""
    return {
        "machine": machine,
        "versions": {name: version(name) for name in _PACKAGES} | {"openvino": OPENVINO, "ctranslate2": CTRANSLATE2},
        "rounds": rounds,
        "models": [model | {"ratios": _ratios(_columns(model))} for model in models],
    }


def _columns(model: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Seconds of each round by contender and by what was done."""
    return {
        name: {what: own for what, own in [*columns.items(), (_START, model["starts"].get(name, []))] if own}
        for name, columns in model["seconds"].items()
    }


def _ratios(columns: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    found = []
    for ours, peers in PAIRS.items():
        for peer in peers:
            if ours not in columns or peer not in columns:
                continue
            ratios = {}
            for what, own in columns[ours].items():
                if what in columns[peer]:
                    each = [their / our for our, their in zip(own, columns[peer][what], strict=True)]
                    ratios[what] = {"median": statistics.median(each), "worst": min(each)}
            found.append({"ours": ours, "peer": peer, "speed": ratios})
    return found


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    found = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    lines = [
        "# Encoders beside other engines, text-classification",
        "",
        f"{record['machine']}.",
        f"{found}.",
        f"Medians of {record['rounds']} rounds in turns. A column is rows x tokens through the graph alone; texts are",
        "of mixed lengths, eight at once, from text to label; start is from a new process to its first label, with the",
        "caches of a second start. Made by `python -m benchmarks.peers.compare`.",
    ]
    for model in record["models"]:
        lines += ["", f"## {model['model']}", "", *_times(model), "", *_speeds(model)]
        if model["agreement"]:
            lines += ["", *_agreement(model["agreement"])]
    return "\n".join([*lines, ""])


def _times(model: dict[str, Any]) -> list[str]:
    columns = _columns(model)
    every = list(dict.fromkeys(what for own in columns.values() for what in own))
    table = [
        [name, *(f"{statistics.median(own[what]) * 1e3:.3g}" if what in own else "" for what in every)]
        for name, own in columns.items()
    ]
    return _rows(["milliseconds", *every], table)


def _speeds(model: dict[str, Any]) -> list[str]:
    every = list(dict.fromkeys(what for ratio in model["ratios"] for what in ratio["speed"]))
    table = [
        [
            ratio["ours"],
            ratio["peer"],
            *(
                f"{ratio['speed'][what]['median']:.2f} ({ratio['speed'][what]['worst']:.2f})"
                if what in ratio["speed"]
                else ""
                for what in every
            ),
        ]
        for ratio in model["ratios"]
    ]
    return _rows(["our speed over the peer's (worst round)", "peer", *every], table)


def _agreement(agreement: dict[str, dict[str, float]]) -> list[str]:
    table = [
        [name, f"{found['same_label']} of {found['texts']}", f"{found['largest']:.3g}", f"{found['mean']:.3g}"]
        for name, found in agreement.items()
    ]
    return _rows(["beside PyTorch", "same label", "largest difference of a logit", "mean"], table)


def _rows(header: list[str], table: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *table)]
