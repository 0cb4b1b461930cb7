"""The tables of those who write: speeds, shares of the memory's bandwidth, ratios, and which floors are met."""

from __future__ import annotations

import statistics
from importlib.metadata import version
from typing import Any

from benchmarks.environments import LLAMA_CPP
from benchmarks.peers.files import CTRANSLATE2
from benchmarks.peers.writing.writer_files import PACKAGES
from benchmarks.peers.writing.writers import BANDWIDTH, FLOORS, PAIRS, PROMPTS, REFERENCE
from benchmarks.pipelines.request_report import rows

_PACKAGES = ("edgepipe", "onnxruntime", "tokenizers", "numpy", "torch", "transformers")
_START = "start"
# Rates of one contender, of each round, by what was done.
Rates = dict[str, list[float]]


def build_record(models: list[dict[str, Any]], command: str, machine: str, rounds: int) -> dict[str, Any]:
    """Everything as one object for JSON.

    Args:
        models: What was measured of each.
        command: That made it.
        machine: In words.
        rounds: How many.
    """
    others = dict(packages[0].split("==") for packages in PACKAGES.values())
    return {
        "command": command,
        "machine": machine,
        "versions": {name: version(name) for name in _PACKAGES}
        | others
        | {"llama-cpp-python": LLAMA_CPP, "ctranslate2": CTRANSLATE2},
        "rounds": rounds,
        "models": [_complete(model) for model in models],
    }


def count_equal(answers: dict[str, list[dict[str, Any]]], reference: dict[str, list[dict[str, Any]]] | None) -> str:
    """How many tokens are the reference's, each text up to the first that is not, of how many."""
    if reference is None:
        return ""
    equal = total = 0
    for length, own in answers.items():
        for each, right in zip(own, reference[length], strict=True):
            pairs = zip(each["tokens"], right["tokens"], strict=True)
            equal += next((place for place, (one, other) in enumerate(pairs) if one != other), len(each["tokens"]))
            total += len(each["tokens"])
    return f"{equal} of {total}"


def _complete(model: dict[str, Any]) -> dict[str, Any]:
    """A model with rates, shares, ratios and floors."""
    rates = {name: _rates(model, name) for name in model["answers"]}
    shares = {name: _shares(model, name, own) for name, own in rates.items()}
    ratios = {
        f"{ours} / {peer}": _ratios(rates[ours], rates[peer])
        for ours, peers in PAIRS.items()
        for peer in peers
        if ours in rates and peer in rates
    }
    return model | {
        "rates": rates,
        "shares": shares,
        "ratios": ratios,
        "floors": _floors(model["model"], shares, ratios),
    }


def _rates(model: dict[str, Any], name: str) -> Rates:
    """Tokens a second of the prompt and of those that were decoded, and starts a second."""
    found: Rates = {}
    for length in map(str, PROMPTS):
        own = model["answers"][name][length]
        found[f"prompt of {length}"] = [int(length) / each["first_seconds"] for each in own]
        found[f"decode behind {length}"] = [
            (model["new"] - 1) / (each["seconds"] - each["first_seconds"]) for each in own
        ]
    return found | {_START: [1 / seconds for seconds in model["starts"][name]]}


def _shares(model: dict[str, Any], name: str, rates: Rates) -> dict[str, float]:
    """The share of the bandwidth, the median of the rounds', that decoding reads of weights, at its median rate."""
    size, bandwidth = model["bytes_read"][name], statistics.median(model["bandwidths"])
    return {what: size * statistics.median(own) / bandwidth for what, own in rates.items() if what.startswith("decode")}


def _ratios(ours: Rates, theirs: Rates) -> dict[str, dict[str, float]]:
    found = {}
    for what, own in ours.items():
        each = [our / their for our, their in zip(own, theirs[what], strict=True)]
        found[what] = {"median": statistics.median(each), "worst": min(each)}
    return found


def _floors(
    model: str, shares: dict[str, dict[str, float]], ratios: dict[str, dict[str, dict[str, float]]]
) -> list[dict[str, Any]]:
    found = []
    for floor in FLOORS:
        pair = f"{floor.ours} / {floor.peer}"
        for what in floor.measures if model in floor.models else ():
            if floor.peer == BANDWIDTH:
                value = shares.get(floor.ours, {}).get(what)
            else:
                value = ratios[pair][what]["median"] if pair in ratios else None
            found.append({"of": pair, "what": what, "value": value, "at_least": floor.at_least})
    return found


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    found = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    lines = [
        "# Models that write beside other engines",
        "",
        f"`{record['command']}`, on {record['machine']}.",
        f"{found}.",
        "",
        f"One text at a time, greedy, random weights; medians of {record['rounds']} rounds in turns. A prompt's rate",
        "is its tokens over the seconds to the first new one, decode is all new tokens but the first. The share is the",
        "bytes of weights that a token reads, times tokens a second, over the rounds' median bandwidth. Start is",
        "from a new process to the first token behind 32, with the caches of a second start. Equal tokens are those of",
        f"{REFERENCE}, each text up to the first that is another.",
    ]
    for model in record["models"]:
        lines += ["", f"## {model['model']}", "", *_speeds(model), "", *_ratio_lines(model), "", *_floor_lines(model)]
        lines += ["", *(f"- {name} is left out: {reason}" for name, reason in model["left_out"].items())]
    return "\n".join([*lines, ""])


def _speeds(model: dict[str, Any]) -> list[str]:
    bandwidths = model["bandwidths"]
    table = []
    for name, rates in model["rates"].items():
        cells = [name, f"{model['bytes_read'][name] / 1e6:,.0f}"]
        for what, own in rates.items():
            if what == _START:
                cells.append(f"{1e3 / statistics.median(own):,.0f}")
                continue
            share = f" ({model['shares'][name][what]:.0%})" if what in model["shares"][name] else ""
            cells.append(f"{statistics.median(own):,.0f}{share}")
        table.append([*cells, model["equal_tokens"][name]])
    whats = [what for what in next(iter(model["rates"].values()), {}) if what != _START]
    heads = ["tokens a second (share)", "MB a token", *whats, "start, ms", "equal tokens"]
    middle, least, most = (each(bandwidths) / 1e9 for each in (statistics.median, min, max))
    return [
        f"Bandwidth: {most:.1f} GB/s at best, {middle:.1f} in the middle, {least:.1f} at least.",
        "",
        *rows(heads, table),
    ]


def _ratio_lines(model: dict[str, Any]) -> list[str]:
    table = [
        [pair, *(f"{each['median']:.2f} ({each['worst']:.2f})" for each in own.values())]
        for pair, own in model["ratios"].items()
    ]
    whats = next(iter(model["ratios"].values()), {})
    return rows(["our speed over the peer's (worst round)", *whats], table)


def _floor_lines(model: dict[str, Any]) -> list[str]:
    table = []
    for floor in model["floors"]:
        value = floor["value"]
        verdict = "not measured" if value is None else "met" if value >= floor["at_least"] else "missed"
        shown = "" if value is None else f"{value:.2f}"
        table.append([floor["of"], floor["what"], shown, f"{floor['at_least']:.2f}", verdict])
    return rows(["floor", "", "", "at least", ""], table)
