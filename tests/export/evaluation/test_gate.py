"""What a variant is measured by, and that the figures decide."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.cli.main import cli
from edgepipe.errors import InputError, ParityError
from edgepipe_export import export
from edgepipe_export.calibration.dataset import Words
from edgepipe_export.evaluation.metrics.accuracy import candidate_accuracy, label_accuracy
from edgepipe_export.evaluation.metrics.embedding_similarity import compare_embeddings, spearman
from edgepipe_export.evaluation.metrics.entity_f1 import entity_f1, spans
from edgepipe_export.evaluation.metrics.exact_match import answer_f1
from edgepipe_export.evaluation.metrics.kl_divergence import MeanDivergence
from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS
from edgepipe_export.evaluation.tolerances import Tolerance
from tests.conftest import shared


def test_accuracy() -> None:
    results = [[{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}], [{"label": "b", "score": 0.6}]]
    assert label_accuracy(results, ["a", "a"]) == {"accuracy": 0.5}
    assert candidate_accuracy([{"labels": ["x", "y"], "scores": [0.9, 0.1]}], ["x"]) == {"accuracy": 1}


def test_f1_of_entities() -> None:
    assert spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-ORG"]) == {
        ("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5), ("ORG", 5, 6),
    }  # fmt: skip
    assert spans(["PER", "PER", "O", "LOC"]) == {("PER", 0, 2), ("LOC", 3, 4)}
    words = Words((0, 5, 9), ("B-PER", "I-PER", "O"))
    right = [{"start": 0, "entity": "B-PER"}, {"start": 3, "entity": "O"}, {"start": 5, "entity": "I-PER"}]
    assert entity_f1([right], [words]) == {"f1": 1, "precision": 1, "recall": 1}
    short = [{"start": 0, "entity": "B-PER"}, {"start": 9, "entity": "B-LOC"}]
    assert entity_f1([right, short], [words, words]) == {"f1": 0.4, "precision": 1 / 3, "recall": 0.5}
    assert entity_f1([[]], [Words((0,), ("O",))]) == {"f1": 1, "precision": 1, "recall": 1}


def test_answers() -> None:
    results: list[Any] = [{"answer": "The red House!"}, [{"answer": "a big dog"}, {"answer": "x"}], {"answer": ""}, []]
    gold = [("red house",), ("small dog", "dog"), (), ("something",)]
    assert answer_f1(results, gold) == {"exact_match": 0.5, "f1": pytest.approx((1 + 2 / 3 + 1 + 0) / 4)}


def test_spearman_shares_the_ranks_of_ties() -> None:
    generator = random.Random(0)
    one, other = ([float(generator.randint(0, 5)) for _ in range(30)] for _ in range(2))

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < value for v in values) + (values.count(value) + 1) / 2 for value in values]

    expected = np.corrcoef(ranks(one), ranks(other))[0, 1]
    assert spearman(np.array(one), np.array(other)) == pytest.approx(expected)
    assert spearman(np.array([1.0, 2, 3]), np.array([10.0, 20, 30])) == pytest.approx(1)


def test_likeness() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert compare_embeddings(unit, unit) == {
        name: pytest.approx(1) for name in ("cosine_mean", "cosine_min", "rank_agreement")
    }
    assert compare_embeddings(unit, unit[::-1])["cosine_mean"] < 1
    assert compare_embeddings(unit, -unit)["cosine_min"] == pytest.approx(-1)


def test_divergence_is_read_where_there_is_text() -> None:
    logits = np.log(np.array([[[0.5, 0.5], [0.9, 0.1]]], np.float32))
    other = np.log(np.array([[[0.25, 0.75], [0.1, 0.9]]], np.float32))
    found = MeanDivergence()
    found.add({"logits": logits}, {"logits": other}, np.array([[1, 0]]))
    assert found.mean == pytest.approx(0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75), rel=1e-5)
    found.add({"last_hidden_state": logits}, {"last_hidden_state": other}, None)
    assert found.count == 1
    starts = MeanDivergence()
    starts.add({"start_logits": np.log([[0.5, 0.5, 7.0]])}, {"start_logits": np.log([[0.25, 0.75, 1.0]])},
               np.array([[1, 1, 0]]))  # fmt: skip
    assert starts.mean == pytest.approx(found.mean, rel=1e-5)
    assert MeanDivergence().mean is None


def test_every_task_with_right_answers_has_figures() -> None:
    with_metric = {task for task, own in TASK_EVALUATIONS.items() if own.metric is not None}
    assert with_metric == TASK_EVALUATIONS.keys() - {"fill-mask"}


def test_one_number_sets_all_bounds() -> None:
    assert Tolerance.from_max_drop(None) == Tolerance(metric=0.5, agreement=1, perplexity=1)
    assert Tolerance.from_max_drop(2) == Tolerance(2, 2, 2)


@pytest.mark.parametrize("given", [-1, 101, "5", True, float("nan")])
def test_a_bound_that_is_no_share(given: float) -> None:
    with pytest.raises(InputError, match="max_drop"):
        Tolerance.from_max_drop(given)


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
    with pytest.raises(ParityError, match=r"int8 against fp32.*accuracy 0\.\d+.*accuracy at most 0 points below"):
        export(checkpoint, tmp_path / "out", dtypes=("fp32", "int8"), calibration=labelled, max_drop=0, budget=0)
    assert not (tmp_path / "out").exists()
