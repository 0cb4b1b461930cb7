"""What a variant is measured by, and that the figures decide."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.cli.main import cli
from edgepipe.errors import InputError, ParityError
from edgepipe_export import export
from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS
from tests.conftest import shared


def test_every_task_with_right_answers_has_figures() -> None:
    with_metric = {task for task, own in TASK_EVALUATIONS.items() if own.metric is not None}
    assert with_metric == TASK_EVALUATIONS.keys() - {"fill-mask"}


@pytest.fixture(scope="module")
def labelled(checkpoint: Path, exported: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with the labels that the fp32 bundle gives them: its accuracy is 1, and what is lost shows."""
    from edgepipe import pipeline
    from edgepipe_export.calibration.texts import sentences

    path = tmp_path_factory.mktemp("calibration") / "own.jsonl"
    classify = pipeline("text-classification", exported, dtype="fp32")
    rows = ({"text": text, "label": classify(text)[0]["label"]} for text in sentences()[:100])
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_right_answers_decide(checkpoint: Path, labelled: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "out", dtypes=("fp32", "int8"), calibration=labelled, max_drop=20)
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["int8"].parity
    assert parity is not None
    assert parity.texts == 100
    assert parity.figures["reference_accuracy"] == 1
    assert parity.figures["accuracy"] == parity.label_agreement
    assert {"kl", "mean_score_diff"} < parity.figures.keys()
    assert "accuracy at most 20 points below" in parity.bound

    report = json.loads((bundle.path / REPORT_NAME).read_text(encoding="utf-8"))
    known = {"origin": "own.jsonl", "inputs": 100, "gold": True, "calibrated": 64, "seen": 64}
    assert report["calibration"] == known
    worst = report["variants"]["int8"]["worst"]
    assert len(worst) == 10
    assert worst[0]["difference"] == max(entry["difference"] for entry in worst)
    assert worst[0]["reference"][0]["label"] in bundle.manifest.labels
    rows = [json.loads(line) for line in labelled.read_text(encoding="utf-8").splitlines()]
    assert not any(row["text"] in (bundle.path / REPORT_NAME).read_text(encoding="utf-8") for row in rows)
    confusion = report["variants"]["int8"]["confusion"]
    assert (confusion["decisions"], confusion["changed"]) == (100, round(100 * (1 - parity.label_agreement)))
    assert sum(count for _, _, count in confusion["counts"]) == 100
    assert confusion["negative_flips"] == confusion["changed"]  # all of fp32's are right
    first = confusion["examples"][0]
    assert rows[first["input"]["number"] - 1]["label"] == first["gold"] == first["reference"]["label"]


def test_a_report_that_is_asked_for_shows_the_texts(checkpoint: Path, labelled: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    arguments = ["export", str(checkpoint), str(tmp_path / "out"), "--dtype", "fp32,int8", "--max-drop", "20"]
    result = CliRunner().invoke(cli, [*arguments, "--calibration", str(labelled), "--report", str(page)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / REPORT_NAME).read_text(encoding="utf-8"))
    times = [report["variants"][dtype]["time"] for dtype in ("fp32", "int8")]
    assert all(time["total_ms"] > time["graph_ms"] > 0 for time in times)
    examples = report["variants"]["int8"]["confusion"]["examples"]
    assert examples
    text = page.read_text(encoding="utf-8")
    assert all(escape(example["input"]) in text for example in examples)
    for name in ("edgepipe.json", "README.md"):
        assert not any(
            example["input"] in (tmp_path / "out" / name).read_text(encoding="utf-8") for example in examples
        )


def test_the_command_line_takes_calibration(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\nGood.,superb\n", encoding="utf-8")
    arguments = ["export", str(checkpoint), str(tmp_path / "out"), "--calibration", str(path), "--budget", "5"]
    result = CliRunner().invoke(cli, [*arguments, "--dtype", "auto", "--prefer", "size"])
    assert isinstance(result.exception, InputError)
    assert "line 2, has the label superb; the model has bad, fair, good" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_embeddings_are_measured_by_their_cosines(tiny_export: Callable[..., Any], tmp_path: Path) -> None:
    made = tiny_export("bert", task="feature-extraction")
    pairs = tmp_path / "pairs.csv"
    rows = [f"sentence {number},another text about {number},{number % 5}" for number in range(20)]
    pairs.write_text("\n".join(["sentence1,sentence2,score", *rows]), encoding="utf-8")
    bundle = export(
        made.model, tmp_path / "out", tokenizer=made.tokenizer, task="feature-extraction", dtypes=("fp32", "w8"),
        calibration=pairs, max_drop=50,
    )  # fmt: skip
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["w8"].parity
    assert parity is not None
    assert {"cosine_mean", "cosine_min", "rank_agreement", "spearman", "reference_spearman"} <= parity.figures.keys()
    assert parity.figures["cosine_mean"] > 0.9
    assert "spearman at most 50 points" in parity.bound


@pytest.mark.coverage  # test_recipes_on_real_weights shows the same of the recipes alone, in less time
@pytest.mark.parametrize("name", ["minilm-sst2", "minilm-ner"])
def test_real_weights_keep_their_quality(name: str, tmp_path: Path) -> None:
    """int8 and w8 of real checkpoints pass with the default bound on labelled data."""
    checkpoint = shared("checkpoints", name, "model.safetensors").parent
    data = tmp_path / ("dev.tsv" if name == "minilm-sst2" else "dev.conll")
    source = shared("data", "sst2", "dev.tsv") if name == "minilm-sst2" else shared("data", "wikiann", "dev.conll")
    text = source.read_text(encoding="utf-8")
    data.write_text(text if name == "minilm-sst2" else "\n\n".join(text.split("\n\n")[:500]), encoding="utf-8")
    bundle = export(checkpoint, tmp_path / "out", dtypes=("int8", "w8"), calibration=data)
    assert bundle.manifest is not None
    own = "accuracy" if name == "minilm-sst2" else "f1"
    for dtype in ("int8", "w8"):
        parity = bundle.manifest.variants[dtype].parity
        assert parity is not None
        assert parity.passed
        assert parity.figures[f"reference_{own}"] - parity.figures[own] <= 0.005


def test_a_variant_that_misses_is_refused_with_its_figures(checkpoint: Path, labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"int8 misses.*accuracy 0\.\d+ against 1 .*accuracy at most 0 points below"):
        export(checkpoint, tmp_path / "out", dtypes=("int8",), calibration=labelled, max_drop=0, budget=0)
    assert not (tmp_path / "out").exists()
