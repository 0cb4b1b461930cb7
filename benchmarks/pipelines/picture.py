"""The picture of the README: ``python -m benchmarks.pipelines.picture`` draws benchmarks/results/request.json.

It is drawn twice, for light and dark pages, as docs/assets/request-light.svg and docs/assets/request-dark.svg.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results" / "request.json"
OUTPUT = REPOSITORY / "docs" / "assets"

# The model that is shown, and who runs it: names of the results, and what the picture calls them.
MODEL = "distilbert-base"
CONTENDERS = {
    "transformers, torch": "transformers, PyTorch",
    "optimum-onnx": "optimum-onnx",
    "edgepipe fp32": "edgepipe fp32",
    "edgepipe int8": "edgepipe int8",
}
MEASURES = (
    ("request_ms", 1.0, "One request, ms"),
    ("start_ms", 1e-3, "Start to first label, s"),
    ("peak_bytes", 1e-6, "Peak memory, MB"),
)
STYLES = {
    "light": {"ink": "#1f2328", "ours": "#1a7f5a", "others": "#b6bec7"},
    "dark": {"ink": "#e6edf3", "ours": "#3fb68b", "others": "#59636e"},
}


def read(path: Path = RESULTS) -> list[Mapping[str, Any]]:
    """What was measured of each contender, in the order of :data:`CONTENDERS`."""
    models = json.loads(path.read_text(encoding="utf-8"))["models"]
    (model,) = (each for each in models if each["model"] == MODEL)
    found = {each["name"]: each for each in model["contenders"]}
    return [found[name] for name in CONTENDERS]


def draw(measured: Sequence[Mapping[str, Any]], style: Mapping[str, str]) -> Figure:
    """Three groups of bars, the shortest the best, each with its figure."""
    figure = Figure(figsize=(9.0, 2.3), layout="constrained")
    colors = [style["ours" if name.startswith("edgepipe") else "others"] for name in CONTENDERS]
    for place, (field, factor, title) in enumerate(MEASURES, 1):
        axes = figure.add_subplot(1, len(MEASURES), place)
        values = [each[field]["median"] * factor for each in measured]
        bars = axes.barh(list(CONTENDERS.values()), values, color=colors, height=0.7)
        axes.bar_label(bars, fmt=lambda value: f"{value:.3g}", padding=3, color=style["ink"])
        axes.set_title(title, color=style["ink"], loc="left", fontsize=10)
        axes.invert_yaxis()
        axes.set_xlim(0, max(values) * 1.2)
        axes.xaxis.set_visible(False)
        axes.yaxis.set_visible(place == 1)
        axes.tick_params(axis="y", length=0, colors=style["ink"])
        axes.spines[:].set_visible(False)
    return figure


def main() -> None:
    """Draw the picture for light and dark pages."""
    measured = read()
    OUTPUT.mkdir(exist_ok=True)
    # Text stays text, and two drawings of the same figures are the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgepipe", "font.family": "sans-serif"}):
        for name, style in STYLES.items():
            path = OUTPUT / f"request-{name}.svg"
            draw(measured, style).savefig(path, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
