"""The tables of compare.py: what each contender takes, our speed over each peer's, and the share of the peak."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from benchmarks.environments import TRANSFORMERS_JS
from benchmarks.peers.files import CTRANSLATE2, OPENVINO, SENTENCE_TRANSFORMERS_ONNX
from benchmarks.peers.sections import SENTENCES, section_of
from benchmarks.pipelines.request_report import rows

_PACKAGES = ("edgepipe", "onnxruntime", "tokenizers", "numpy", "torch", "transformers", "sentence-transformers")
_TEXTS, _START = "texts", "start"


def build_record(
    models: list[dict[str, Any]], machine: str, rounds: int, left_out: Mapping[str, str]
) -> dict[str, Any]:
    """Everything as one object for JSON: seconds of each round, the ratios of pairs, and shares of the peak.

    Args:
        models: What was measured of each.
        machine: In words.
        rounds: How many.
        left_out: Contenders that did not run, and why.
    """
    others = {
        "sentence-transformers[onnx]": SENTENCE_TRANSFORMERS_ONNX,
        "openvino": OPENVINO,
        "ctranslate2": CTRANSLATE2,
        "transformers.js": TRANSFORMERS_JS,
    }
    return {
        "machine": machine,
        "versions": {name: version(name) for name in _PACKAGES} | others,
        "rounds": rounds,
        "left_out": dict(left_out),
        "models": [model | {"ratios": _ratios(model), "shares": _shares(model)} for model in models],
    }


def _columns(model: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Seconds of each round by contender and by what was done."""
    return {
        name: {what: own for what, own in [*columns.items(), (_START, model["starts"].get(name, []))] if own}
        for name, columns in model["seconds"].items()
    }


def _ratios(model: dict[str, Any]) -> list[dict[str, Any]]:
    found, columns = [], _columns(model)
    for ours, peers in section_of(model["model"]).pairs.items():
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


def _shares(model: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The median share of the peak of a contender's precision, of the same round, that it reaches at each shape."""
    return {
        name: {
            what: statistics.median(
                operations / seconds / peak
                for seconds, peak in zip(model["seconds"][name][what], model["peaks"][precision], strict=True)
            )
            for what, operations in model["operations"].items()
        }
        for name, precision in model["precisions"].items()
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    found = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    lines = [
        "# Encoders beside other engines",
        "",
        f"{record['machine']}.",
        f"{found}.",
        f"Medians of {record['rounds']} rounds in turns. A column is rows x tokens through the graph alone; texts are",
        "of mixed lengths, eight at once, from text to label or to the vector of a sentence; start is from a new",
        "process to its first result, with the caches of a second start. Made by",
        "`python -m benchmarks.peers.compare`.",
        *(f"{contender} is left out: {reason}." for contender, reason in record["left_out"].items()),
    ]
    for model in record["models"]:
        lines += ["", f"## {model['model']}, {model['task']}", "", *_times(model), "", *_speeds(model)]
        if model["shares"]:
            lines += ["", *_peak_lines(model)]
        if model["agreement"]:
            lines += ["", *_agreement(model)]
    return "\n".join([*lines, ""])


def _times(model: dict[str, Any]) -> list[str]:
    columns = _columns(model)
    every = list(dict.fromkeys(what for own in columns.values() for what in own))
    table = [
        [name, *(f"{statistics.median(own[what]) * 1e3:.3g}" if what in own else "" for what in every)]
        for name, own in columns.items()
    ]
    return rows(["milliseconds", *every], table)


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
    return rows(["our speed over the peer's (worst round)", "peer", *every], table)


def _peak_lines(model: dict[str, Any]) -> list[str]:
    peaks = ", ".join(f"{name} {statistics.median(own) / 1e9:,.0f} GOP/s" for name, own in model["peaks"].items())
    table = [
        [name, model["precisions"][name], *(f"{share:.0%}" for share in own.values())]
        for name, own in model["shares"].items()
    ]
    return [
        "The share of the peak is the additions and multiplications of the fp32 graph's products, over the seconds and",
        "over the peak: one large product in the same round. Some products of an int8 model are in fp32; all of them",
        f"are held against the peak of int8. Peaks: {peaks}.",
        "",
        *rows(["share of the peak", "of", *model["operations"]], table),
    ]


def _agreement(model: dict[str, Any]) -> list[str]:
    table = [
        [
            name,
            f"{found['same_label']} of {found['texts']}" if "same_label" in found else f"{found['least_cosine']:.5f}",
            f"{found['largest']:.3g}",
            f"{found['mean']:.3g}",
        ]
        for name, found in model["agreement"].items()
    ]
    section = section_of(model["model"])
    first = "least cosine" if section is SENTENCES else "same label"
    return rows([f"beside {section.reference}", first, "largest difference of a value", "mean"], table)
