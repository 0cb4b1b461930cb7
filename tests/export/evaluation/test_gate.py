"""What a variant is measured by, and that the figures decide."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.cli.main import cli
from edgepipe.errors import InputError, ParityError
from edgepipe_export import export
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.evaluation.checks import Check
from edgepipe_export.evaluation.gate import check_quantized
from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS
from edgepipe_export.evaluation.tolerances import Tolerance
from tests.conftest import shared


class Labels:
    """A predictor that says "good" of every number that is not among its mistakes, and counts what it is asked."""

    def __init__(self, name: str, mistakes: Iterable[int] = ()) -> None:
        self.name = name
        self.asked: list[int] = []
        self._mistakes = set(mistakes)

    def tensors(self, encoding: Any) -> dict[str, Any]:
        return {}

    def results(self, inputs: Sequence[int], options: Any) -> list[Any]:
        self.asked += inputs
        return [[{"label": "bad" if item in self._mistakes else "good", "score": 0.75}] for item in inputs]


def compare(
    mistakes: Iterable[int],
    count: int = 2000,
    *,
    max_drop: float | None = None,
    seconds: float | None = 60,
    gold: bool = True,
) -> tuple[Check, list[int]]:
    """The check of results, and the inputs that the candidate was asked for."""
    data = Dataset(tuple(range(count)), ("good",) * count if gold else None, "numbers")
    candidate, deadline = Labels("int8", mistakes), None if seconds is None else time.monotonic() + seconds
    checks = check_quantized(
        candidate, Labels("fp32"), "text-classification", data, (), Tolerance.from_max_drop(max_drop), deadline
    )
    return checks[-1], candidate.asked


def test_no_more_inputs_are_measured_than_decide() -> None:
    check, asked = compare(range(0, 2000, 5))
    assert not check.passed
    assert asked == list(range(100)), "a fifth of all labels is lost: the first look shows it"
    check, asked = compare(())
    assert check.passed
    assert asked == list(range(800)), "a few of a thousand might be lost, up to here"
    check, asked = compare((), max_drop=5)
    assert (check.passed, check.compared, check.stopped) == (True, 100, False)
    check, asked = compare((), gold=False, max_drop=5)
    assert (check.passed, check.compared) == (True, 100)
    assert compare((), 60)[0].compared == 60
    assert compare((), seconds=None)[0].compared == 2000, "all, where nobody hurries"


def test_when_the_time_is_over_what_was_measured_decides() -> None:
    for mistakes, passed in (((), True), ((3, 5), True), (range(0, 100, 20), False)):
        check, asked = compare(mistakes, seconds=0, max_drop=2)
        assert (check.passed, check.compared, check.stopped) == (passed, 100, True)
        assert len(asked) == 100


def test_a_drop_that_may_be_chance_is_none() -> None:
    """Of 400 inputs 4 are lost, and 6 or more: by the textbook's exact test the former has p = 0.125."""
    check, _ = compare((1, 101, 202, 303), 400, seconds=None)
    assert check.passed
    assert check.by_chance
    assert check.bound.endswith("at most 0.5 points below the reference's, or no more than chance explains")
    assert check.figures["drop_low"] < 0 < 1 < check.figures["drop_high"]
    check, _ = compare(range(0, 400, 40), 400, seconds=None)
    assert (check.passed, check.by_chance) == (False, False)
    assert check.figures["drop_low"] > 0
    check, _ = compare((7,), 400, seconds=None)
    assert (check.passed, check.by_chance) == (True, False), "within the bound"
    check, _ = compare((7,), 400, max_drop=0, seconds=None)
    assert not check.passed, "none at all is allowed"


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
