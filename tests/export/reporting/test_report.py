"""The report: every figure is the bundle's, hostile texts stay text, and a browser shows the page without complaint."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import MANIFEST_NAME, REPORT_NAME
from edgepipe.bundle.manifest import Manifest, Parity
from edgepipe.errors import BundleError, InputError
from edgepipe_export import report
from edgepipe_export.reporting.contents import read_contents
from edgepipe_export.reporting.markdown import escape_markdown
from edgepipe_export.reporting.report import render_page
from tests.export.reporting.drawings import centres, tooltips
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle

HOSTILE = "<script>alert('x')</script> & \"quotes\" ]]> \x00\x1b[31m \ud800 \u202e reversed </style>"
FP32 = Parity("pytorch-fp32", 210, {"logits": 5.7e-6}, 2.7e-6, 1.0, "0.0001 of the reference", True)
INT8 = Parity(
    "fp32", 210, {"logits": 1.3011, "hidden_states.0": math.inf}, 0.40113, 0.98095, f"agreement {HOSTILE}", False,
    {"accuracy": 0.9151, "reference_accuracy": 0.92432, "kl": 0.011753, "mean_score_diff": 0.0146}, seen=64,
)  # fmt: skip
MEASURED: dict[str, Any] = {
    "schema_version": 1,
    "calibration": {"origin": "dev.tsv", "inputs": 210, "gold": True, "calibrated": 64, "seen": 64},
    "variants": {
        "int8": {
            "checks": [
                {
                    "check": "pipeline", "dtype": "int8", "reference": "fp32", "compared": 210,
                    "differences": {"score": 0.40113}, "agreement": 0.98095, "bound": "b", "passed": False,
                    "detail": HOSTILE, "figures": {},
                }
            ],
            "worst": [
                {
                    "input": HOSTILE,
                    "reference": [{"label": HOSTILE, "score": 0.61}],
                    "candidate": [{"label": "bad", "score": 0.7945}],
                    "difference": 1.1851,
                },
                {"input": {"question": "Who?", "context": "x" * 5000}, "reference": None, "candidate": [1.5, {}],
                 "difference": 0.25},
            ],
            "sensitivities": [
                {"layer": "/a/MatMul", "label": HOSTILE, "size": 147456, "cost": 0.2137},
                {"layer": "/b/MatMul", "label": "b", "size": 10, "cost": 0.0},
            ],
            "confusion": {
                "decisions": 210, "changed": 4, "negative_flips": 3, "positive_flips": 1,
                "counts": [["good", "good", 120], ["bad", "bad", 86], ["good", "bad", 3], ["bad", HOSTILE, 1]],
                "examples": [
                    {
                        "input": HOSTILE, "place": "", "reference": {"label": "good", "score": 0.6123},
                        "candidate": {"label": "bad", "score": 0.5571}, "gold": "good",
                    },
                    {
                        "input": {"number": 17}, "place": "", "reference": {"label": "bad", "score": 0.5101},
                        "candidate": {"label": HOSTILE, "score": None}, "gold": "bad",
                    },
                ],
            },
            "time": {"total_ms": 4.625, "spread": 0.25, "tokenizer_ms": 0.21, "graph_ms": 4.1},
        },
        "fp32": {
            "checks": [], "worst": [],
            "time": {"total_ms": 11.25, "spread": 0.125, "tokenizer_ms": 0.22, "graph_ms": 10.75},
        },
    },
    "noise": {"spread": 0.0412, "noisy": True},
}  # fmt: skip
CANDIDATES: list[dict[str, Any]] = [
    {
        "dtype": dtype, "bytes": size, "latency_ms": latency, "latency_spread": 0.04, "passed": passed,
        "distance": distance, "figures": figures, "chosen": dtype == "w8", "pareto": passed,
    }
    for dtype, size, latency, passed, distance, figures in (
        ("fp32", 90_900_000, 11.21, True, 0.0, {}),
        ("int8", 23_600_000, 4.13, False, 0.1123, {"accuracy": 0.9151, "reference_accuracy": 0.92432}),
        ("w8", 25_800_000, 5.27, True, 0.0317, {"accuracy": 0.92321, "reference_accuracy": 0.92432}),
    )
]  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with figures of two variants, and with texts that would rather be markup."""
    path = write_bundle(tmp_path / "bundle", dtypes=("fp32", "int8"))
    manifest = Manifest.from_json((path / MANIFEST_NAME).read_text(encoding="utf-8"))
    raised = {"name": "int8", "precisions": {"/a/MatMul": "w8"}, "note": HOSTILE}
    variants = {
        "fp32": replace(manifest.variants["fp32"], parity=FP32),
        "int8": replace(manifest.variants["int8"], parity=INT8, recipe=raised),
    }
    written = replace(manifest, variants=variants, source=replace(manifest.source, model=HOSTILE)).to_json()
    (path / MANIFEST_NAME).write_text(json.dumps(json.loads(written)), encoding="utf-8")
    (path / REPORT_NAME).write_text(json.dumps(MEASURED), encoding="utf-8")
    return path


def table(root: ElementTree.Element, caption: str) -> ElementTree.Element:
    """A table of the page."""
    return next(found for found in root.iter("table") if found.findtext("caption") == caption)


def cells(root: ElementTree.Element, caption: str) -> dict[str, dict[str, ElementTree.Element]]:
    """A table of the page: its rows by their first cell's text, each by its headers."""
    rows = {}
    for row in table(root, caption).findall("tbody/tr"):
        name = row.find("th")
        assert name is not None
        rows["".join(name.itertext())] = {cell.attrib["data-label"]: cell for cell in row.findall("td")}
    return rows


def exact(cell: ElementTree.Element) -> float | None:
    data = cell.find(".//data")
    return None if data is None else float(data.attrib["value"])


def assert_is_the_manifests(root: ElementTree.Element) -> None:
    """Compare the figures of a page with those that the bundle was given."""
    rows = cells(root, "Size and parity of each variant")
    assert exact(rows["fp32 default"]["Agreement"]) == FP32.label_agreement
    assert exact(rows["fp32 default"]["Of fp32"]) == 1
    assert exact(rows["int8"]["Agreement"]) == INT8.label_agreement
    assert exact(rows["int8"]["Of a score"]) == INT8.max_score_diff
    assert "missed" in "".join(rows["int8"]["Result"].itertext())
    assert "held" in "".join(rows["fp32 default"]["Result"].itertext())
    quality = cells(root, "Figures of each variant")
    found = {exact(row["int8"]) for row in quality.values()}
    assert found == {*INT8.figures.values(), INT8.label_agreement, INT8.max_score_diff}
    tensors = cells(root, "Largest absolute difference of each tensor")
    assert exact(tensors["logits"]["int8"]) == INT8.max_abs_diff["logits"]
    assert exact(tensors["logits"]["fp32"]) == FP32.max_abs_diff["logits"]
    assert "".join(tensors["hidden_states.0"]["int8"].itertext()) == "cannot be compared"
    costs = [exact(row["Cost"]) for row in cells(root, "Cost of each layer in int8").values()]
    assert costs == [entry["cost"] for entry in MEASURED["variants"]["int8"]["sensitivities"]]
    worst = cells(root, "Where int8 is farthest from its reference")
    assert [exact(row["Difference"]) for row in worst.values()] == [1.1851, 0.25]
    variant = MEASURED["variants"]["int8"]
    changed = table(root, "Decisions that int8 makes otherwise").findall("tbody/tr")
    assert [[exact(cell) for cell in row.findall("td")[:2]] for row in changed] == [
        [example[side]["score"] for side in ("reference", "candidate")] for example in variant["confusion"]["examples"]
    ]
    counts = table(root, "Labels of the reference and of each variant").findall("tbody/tr")
    assert sorted(exact(row.findall("td")[1]) or 0 for row in counts) == sorted(
        count for _, _, count in variant["confusion"]["counts"]
    )
    times = cells(root, "Milliseconds of a request")
    for dtype in ("fp32", "int8"):
        known = MEASURED["variants"][dtype]["time"]
        assert exact(times[dtype]["Request, ms"]) == known["total_ms"]
        assert exact(times[dtype]["Tokenizer, ms"]) == known["tokenizer_ms"]
        assert exact(times[dtype]["Graph, ms"]) == known["graph_ms"]


def test_every_figure_is_the_manifests(bundle: Path, tmp_path: Path) -> None:
    written = report(bundle, tmp_path / "report.html")
    text = written.read_text(encoding="utf-8")
    assert_is_the_manifests(ElementTree.fromstring(text))
    assert "raised to w8" in text
    assert "210 inputs, dev.tsv, with the right answers; calibrated with 64, all of them among these" in text
    assert "fp32, 210 texts, 64 of them calibrated with" in text

    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    int8 = next(entry for entry in record["variants"] if entry["dtype"] == "int8")
    assert int8["parity"]["figures"] == INT8.figures
    assert int8["parity"]["max_abs_diff"] == {"logits": 1.3011, "hidden_states.0": None}
    assert int8["worst"][1]["input"]["context"] == "x" * 5000
    assert record["calibration"] == MEASURED["calibration"]


def test_texts_stay_texts_and_nothing_is_loaded(bundle: Path, tmp_path: Path) -> None:
    text = report(bundle, tmp_path / "report.html").read_text(encoding="utf-8")

    tags: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
            tags.add(tag)
            assert not {"src", "href", "onload", "onclick"} & {name for name, _ in attrs}

    Tags().feed(text)
    assert not tags & {"script", "link", "img", "iframe", "object"}
    assert "table" in tags
    assert text.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;") >= 5
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", text)
    assert not re.search(r"url\(|@import|https?:", text)


def figure(root: ElementTree.Element, title: str) -> ElementTree.Element:
    """A plot of the page."""
    [found] = [each for each in root.iter("figure") if each.findtext("figcaption") == title]
    drawing = found.find("svg")
    assert drawing is not None
    return drawing


def test_each_plot_has_a_name_and_its_table(bundle: Path) -> None:
    root = ElementTree.fromstring(with_candidates(bundle, CANDIDATES))
    blocks = [each for each in root.iter("div") if each.get("class") == "block" and each.find(".//figure") is not None]
    assert sum(len(block.findall(".//figure")) for block in blocks) == len(root.findall(".//figure")) == 6
    for block in blocks:
        assert block.find("details/table/tbody/tr") is not None
        for drawing in block.iter("svg"):
            names = [drawing.attrib["aria-labelledby"], drawing.attrib["aria-describedby"]]
            assert [part.get("id") for part in drawing[:2]] == names
            assert all(part.text for part in drawing[:2])
    ids = [part.attrib["id"] for part in root.iter() if "id" in part.attrib]
    assert len(ids) == len(set(ids))


def test_the_times_and_what_changed_are_drawn_as_they_are(bundle: Path) -> None:
    root = ElementTree.fromstring(render_page(read_contents(Bundle.load(bundle))))
    assert tooltips(figure(root, "Milliseconds of a request"))[-3:] == [
        "fp32, tokenizer: 0.22 ms", "fp32, graph: 10.75 ms", "fp32, rest: 0.28 ms",
    ]  # fmt: skip
    counts = tooltips(figure(root, "Labels of the reference and of int8"))
    assert "reference good, int8 bad: 3" in counts
    assert "reference bad, int8 bad: 86" in counts
    text = "".join(root.itertext())
    assert "int8 makes 4 of 210 decisions otherwise (1.90 %). Of these, 3 were right before and 1 is right now." in text
    assert "The 2 that both were surest of are listed." in text
    assert "input 17 of dev.tsv" in text
    assert tooltips(figure(root, "Quality and latency")) == [
        "fp32: 11.25 ms, " + tooltips(figure(root, "Quality and size"))[0].partition(" ms, ")[2],
        "int8: 4.625 ms, " + tooltips(figure(root, "Quality and size"))[1].partition(" ms, ")[2],
    ]


def test_markdown_and_json_have_the_figures_of_the_page(bundle: Path, tmp_path: Path) -> None:
    with_candidates(bundle, CANDIDATES)
    root = ElementTree.fromstring(report(bundle, tmp_path / "report.html").read_text(encoding="utf-8"))
    markdown = report(bundle, tmp_path / "other.md", format="md").read_text(encoding="utf-8")
    record = json.loads(report(bundle, tmp_path / "other.json", format="json").read_text(encoding="utf-8"))
    assert not (tmp_path / "other.html").exists()
    assert record == json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))

    def numbers(value: Any) -> set[float]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return set[float]().union(*map(numbers, value))
        return {value} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()

    shown = {float(cell.attrib["value"]) for cell in root.iter("data")}
    derived = {"Rest, ms", "Spread, ms", "Of fp32"}
    for each in root.iter("table"):
        lines = markdown.partition(f"**{escape_markdown(each.findtext('caption') or '')}**")[2].partition("\n\n|")[2]
        rows = lines.partition("\n\n")[0].splitlines()[2:]
        expected = each.findall("tbody/tr")
        assert len(rows) == len(expected)
        for line, row in zip(rows, expected, strict=True):
            for cell in row.findall("td"):
                for data in cell.iter("data"):
                    assert f" {escape_markdown(data.text or '')} " in f"{line} "
                    if cell.attrib["data-label"] in derived:
                        shown.discard(float(data.attrib["value"]))
    assert shown <= numbers(record)
    assert "| int8 | " in markdown
    assert HOSTILE not in markdown


def with_candidates(bundle: Path, candidates: Sequence[Mapping[str, Any]]) -> str:
    """The page of a bundle that an export chose from `candidates`."""
    loaded = Bundle.load(bundle)
    assert loaded.manifest is not None
    written = replace(loaded.manifest, candidates=tuple(candidates)).to_json()
    (bundle / MANIFEST_NAME).write_text(json.dumps(json.loads(written)), encoding="utf-8")
    return render_page(read_contents(Bundle.load(bundle)))


def test_candidates_are_drawn_and_listed(bundle: Path) -> None:
    root = ElementTree.fromstring(with_candidates(bundle, CANDIDATES))
    rows = cells(root, "All candidates")
    for entry in CANDIDATES:
        row = rows[str(entry["dtype"])]
        assert exact(row["Size"]) == entry["bytes"]
        assert exact(row["Latency, ms"]) == entry["latency_ms"]
        assert exact(row["Distance to fp32"]) == entry["distance"]
        assert exact(row["accuracy"]) == (0.92432 if entry["dtype"] == "fp32" else entry["figures"]["accuracy"])
    for title in ("Quality and latency of the candidates", "Quality and size of the candidates"):
        assert [text.partition(":")[0] for text in tooltips(figure(root, title))] == ["fp32", "int8", "w8"]
        legend = [text.text for text in figure(root, title).iter("text")]
        assert {"fp32", "int8", "w8", "chosen", "missed its bound"} <= {*legend}
    assert (
        "The machine was noisy: the middle half of a candidate's rounds spans up to 4.12 % of their median"
        in "".join(root.itertext())
    )


def test_candidates_without_a_figure_are_drawn_by_their_distance(bundle: Path) -> None:
    root = ElementTree.fromstring(with_candidates(bundle, [entry | {"figures": {}} for entry in CANDIDATES]))
    drawn = figure(root, "Quality and size of the candidates")
    assert "distance to fp32 0.0317" in "".join(tooltips(drawn))
    heights = {text.partition(":")[0]: y for text, (_, y) in centres(drawn).items()}
    assert heights["fp32"] < heights["w8"]  # the better is higher


def test_what_the_noise_left_open_is_said(bundle: Path) -> None:
    noise = {"spread": 0.4, "noisy": True, "undecided": ["int8", "w8"]}
    (bundle / REPORT_NAME).write_text(json.dumps(MEASURED | {"noise": noise}), encoding="utf-8")
    text = "".join(ElementTree.fromstring(with_candidates(bundle, CANDIDATES)).itertext())
    assert "The machine was noisy" in text
    assert "too noisy to tell which is the fastest of int8, w8" in text


def test_a_candidate_that_gives_no_numbers_is_listed_and_not_drawn(bundle: Path) -> None:
    ruined = [entry | {"figures": {}} for entry in CANDIDATES]
    ruined[1]["distance"] = None
    root = ElementTree.fromstring(with_candidates(bundle, ruined))
    drawn = figure(root, "Quality and latency of the candidates")
    assert [text.partition(":")[0] for text in tooltips(drawn)] == ["fp32", "w8"]
    assert "no number" in "".join(cells(root, "All candidates")["int8"]["Distance to fp32"].itertext())


def test_a_bundle_that_nothing_was_measured_of(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle")
    root = ElementTree.fromstring(report(path, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "not measured" in "".join(
        cells(root, "Size and parity of each variant")["fp32 default"]["Result"].itertext()
    )
    assert not root.findall(".//figure")


def test_what_has_no_report(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.html, got"):
        report(bundle, tmp_path / "report.json")
    with pytest.raises(InputError, match=r"name of a report in md ends in \.md, got"):
        report(bundle, tmp_path / "report.html", format="md")
    with pytest.raises(InputError, match="format must be one of html, json, md, got 'pdf'"):
        report(bundle, tmp_path / "report.pdf", format="pdf")
    with pytest.raises(InputError, match="directory of the report"):
        report(bundle, tmp_path / "nowhere" / "report.html")
    with pytest.raises(InputError, match=r"would replace .*config\.json"):
        report(bundle, bundle / "config.html")
    (bundle / REPORT_NAME).write_text('{"schema_version": 1, "variants": {"int8": {}}}', encoding="utf-8")
    with pytest.raises(BundleError, match="is damaged"):
        report(bundle, tmp_path / "report.html")
    (bundle / REPORT_NAME).write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match="is not valid JSON"):
        report(bundle, tmp_path / "report.html")
    (bundle / MANIFEST_NAME).unlink()
    with pytest.raises(BundleError, match="another tool made it"):
        report(bundle, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_page_says_what_to_install_and_other_formats_need_nothing(bundle: Path, tmp_path: Path, missing: str) -> None:
    program = """
        import sys
        from edgepipe.errors import DependencyError
        from edgepipe_export import report
        report(sys.argv[1], sys.argv[3], format="md")
        try:
            report(*sys.argv[1:3])
        except DependencyError as error:
            print(error)
    """
    output = tmp_path / "report.html"
    arguments = (str(bundle), str(output), str(tmp_path / "report.md"))
    assert f"pip install {missing}" in run_python(program, *arguments, blocked=(missing,))
    assert "decisions otherwise" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not output.exists()


MEASURE = """<script>
const told = {wide: document.documentElement.scrollWidth, shown: document.documentElement.clientWidth};
document.documentElement.setAttribute("data-told", JSON.stringify(told));
</script>"""


def test_a_browser_shows_it(bundle: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: install the distribution's")
    text = with_candidates(bundle, CANDIDATES)
    shown, complaints = dumped(browser, text, tmp_path / "report.html", 1280)
    assert not complaints
    assert "data-told" not in shown
    assert_is_the_manifests(ElementTree.fromstring(as_xml(shown)))

    # The page forbids scripts; a copy that allows them tells whether a narrow screen holds it.
    allowed = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", MEASURE + "</body>")
    told, _ = dumped(browser, allowed, tmp_path / "measured.html", 400)
    found: Mapping[str, int] = json.loads(re.findall(r'data-told="([^"]*)"', told)[0].replace("&quot;", '"'))
    assert found["wide"] <= found["shown"] <= 500  # some builds have no narrower window


def dumped(browser: str, text: str, path: Path, width: int) -> tuple[str, list[str]]:
    """The page's elements after a browser has shown it, and what its console said."""
    path.write_text(text, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},900"]
    profile = f"--user-data-dir={path.with_suffix('.profile')}"
    done = subprocess.run(
        [browser, *options, profile, "--dump-dom", path.as_uri()],
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def as_xml(dumped: str) -> str:
    """A browser's own writing of elements, with the ones that have no end closed."""
    return re.sub(r"<meta ([^>]*[^/])>", r"<meta \1/>", dumped).replace("&nbsp;", "\u00a0")
