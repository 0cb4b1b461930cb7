"""No variant is measured on what its recipe was calibrated with, and where there is too little for that it is said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, Tokenizer
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.bundle.manifest import Parity
from edgepipe.pipelines.registry import task_class
from edgepipe_export import export, verify
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.calibration.split import CALIBRATED, Split, measure_all, shuffle, split
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.comparison import make_comparison, prepare_dataset
from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS
from edgepipe_export.evaluation.tolerances import fewest_to_measure
from tests.tiny import LIMIT, TOKENIZERS
from tests.tiny.generation import build_generative

DTYPES = ("fp32", "int8", "w8", "q4")


def enough(data: Dataset) -> int:
    return fewest_to_measure(gold=data.gold is not None)


def divide(data: Dataset) -> Split:
    return split(data, enough(data))


def numbered(count: int, **more: Any) -> Dataset:
    return Dataset(tuple(f"text {number}" for number in range(count)), None, "made", **more)


def labelled(*labels: str) -> Dataset:
    return Dataset(tuple(f"text {number}" for number in range(len(labels))), labels, "made")


def test_the_two_sides_share_nothing_and_keep_their_order() -> None:
    data = numbered(210)
    sides = divide(data)
    assert (len(sides.calibrated.inputs), sides.seen) == (CALIBRATED, 0)
    assert sorted(sides.calibrated.inputs + sides.measured.inputs) == sorted(data.inputs)
    for side in (sides.calibrated, sides.measured):
        assert side.inputs == tuple(text for text in data.inputs if text in side.inputs)
    assert divide(data) == sides


def test_shuffling_keeps_all_inputs_with_their_gold_and_their_partners() -> None:
    labels = ["bad"] * 100 + ["good"] * 100
    data = Dataset(tuple(f"{label} {number}" for number, label in enumerate(labels)), tuple(labels), "made")
    shuffled = shuffle(data)
    assert sorted(shuffled.inputs) == sorted(data.inputs)
    assert shuffled.gold == tuple(text.split()[0] for text in shuffled.inputs)
    assert 20 < Counter(shuffled.gold[:60])["bad"] < 40
    assert shuffle(data) == shuffled
    pairs = shuffle(numbered(200, group_size=2)).inputs
    numbers = [int(text.removeprefix("text ")) for text in pairs]
    assert numbers != sorted(numbers)
    assert numbers[1::2] == [number + 1 for number in numbers[::2]]
    assert all(number % 2 == 0 for number in numbers[::2])


def test_gold_goes_with_its_inputs() -> None:
    data = labelled(*(str(number) for number in range(400)))
    for side in (divide(data).calibrated, divide(data).measured):
        assert side.gold == tuple(text.removeprefix("text ") for text in side.inputs)


@pytest.mark.parametrize(
    "labels", [["bad"] * 300 + ["good"] * 300, ["bad", "good"] * 300, (["bad"] * 9 + ["good"]) * 60]
)
def test_what_is_calibrated_with_is_like_the_data(labels: list[str]) -> None:
    """Sorted by label or one after the other: the first 64, or every tenth, would be of one label."""
    gold = divide(labelled(*labels)).calibrated.gold
    assert gold is not None
    expected = labels.count("good") / len(labels)
    assert Counter(gold)["good"] / len(gold) == pytest.approx(expected, abs=0.1)


def test_a_decision_is_never_more_than_the_bound() -> None:
    assert enough(numbered(1)) == 100
    assert enough(labelled("a")) == 200
    for count in range(1, 300):
        for data in (numbered(count), labelled(*["a"] * count)):
            sides = divide(data)
            if sides.seen:
                assert sides.measured == data
                assert sides.seen == len(sides.calibrated.inputs) == min(CALIBRATED, count)
                assert set(sides.calibrated.inputs) <= set(data.inputs)
                assert sides.warning is not None
            else:
                assert len(sides.measured.inputs) >= enough(data)
                assert sides.warning is None
    assert divide(numbered(150)).seen == divide(labelled(*["a"] * 264)).seen == 0


def test_what_is_there_twice_is_on_one_side() -> None:
    data = Dataset(tuple(f"text {number % 180}" for number in range(400)), None, "made")
    sides = divide(data)
    assert not sides.seen
    assert not set(sides.calibrated.inputs) & set(sides.measured.inputs)
    assert len(set(sides.calibrated.inputs)) == len(sides.calibrated.inputs)


def test_a_context_is_on_one_side() -> None:
    contexts = [f"a context that is longer than what is asked about it {number}" for number in range(150)]
    inputs = tuple({"question": f"{word}?", "context": text} for text in contexts for word in ("Who", "When"))
    sides = divide(Dataset(inputs, None, "made"))
    assert not sides.seen
    both = [{item["context"] for item in side.inputs} for side in (sides.calibrated, sides.measured)]
    assert not both[0] & both[1]
    assert len(both[0]) == len(sides.calibrated.inputs) == 50


def test_one_text_with_many_others_calibrates_nothing_alone() -> None:
    """A context that all questions share leaves one to calibrate with: then all serve for both."""
    inputs = tuple({"question": f"{number}?", "context": "the same for each of them"} for number in range(400))
    sides = divide(Dataset(inputs, None, "made"))
    assert sides.seen == len(sides.calibrated.inputs) == CALIBRATED


def test_pairs_stay_together() -> None:
    inputs = tuple(f"text {number} {which}" for number in range(300) for which in "ab")
    gold = tuple(value for number in range(300) for value in (number, None))
    sides = divide(Dataset(inputs, gold, "made", group_size=2))
    assert (len(sides.calibrated.inputs), sides.seen) == (CALIBRATED, 0)
    for side in (sides.calibrated, sides.measured):
        assert side.gold is not None
        for one, other, score in zip(side.inputs[::2], side.inputs[1::2], side.gold[::2], strict=True):
            assert (one, other) == (f"text {score} a", f"text {score} b")


@pytest.mark.parametrize("task", TASK_EVALUATIONS)
def test_what_is_built_in_is_enough_to_be_divide(task: str) -> None:
    """Also where long texts are cut, after which some may be the same."""
    for limit in (None, LIMIT):
        sides = divide(prepare_dataset(task_class(task), Tokenizer.from_pretrained(TOKENIZERS / "bert"), limit))
        assert sides.seen == 0
        assert len(sides.calibrated.inputs) >= 40


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "all.txt"
    path.write_text("\n".join(sentences()[:160]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def gated(checkpoint: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose variants were measured on what was left; not to be changed."""
    return export(checkpoint, tmp_path_factory.mktemp("gated") / "out", dtypes=DTYPES, calibration=texts, max_drop=80)


def parity_of(bundle: Bundle, dtype: str) -> Parity:
    assert bundle.manifest is not None
    found = bundle.manifest.variants[dtype].parity
    assert found is not None
    return found


def test_the_gate_measures_on_what_was_left(gated: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    sides = divide(Dataset(sentences()[:160], None, "all.txt"))
    left = tmp_path / "left.txt"
    left.write_text("\n".join(sides.measured.inputs), encoding="utf-8")
    again = verify(gated, checkpoint, calibration=left, max_drop=80)
    for dtype in DTYPES[1:]:
        recorded = parity_of(gated, dtype)
        assert (recorded.texts, recorded.seen) == (len(sides.measured.inputs), 0)
        measured = {name: value for row in again.rows if row.dtype == dtype for name, value in row.figures.items()}
        assert measured == dict(recorded.figures)
    assert parity_of(gated, "fp32").seen == 0
    assert again.notes == ()


def test_recipes_say_what_they_were_calibrated_with(gated: Bundle) -> None:
    assert gated.manifest is not None
    recipes = {dtype: variant.recipe for dtype, variant in gated.manifest.variants.items()}
    assert "calibrated" not in recipes["fp32"]
    found = [recipes[dtype]["calibrated"] for dtype in DTYPES[1:]]
    assert {entry["inputs"] for entry in found} == {53}
    assert len({entry["data_sha256"] for entry in found}) == 1
    report = json.loads((gated.path / REPORT_NAME).read_text(encoding="utf-8"))
    known = {"origin": "all.txt", "inputs": 107, "gold": False, "calibrated": 53, "seen": 0}
    assert report["calibration"] == known


def test_the_same_data_once_more_are_split_once_more(gated: Bundle, checkpoint: Path, texts: Path) -> None:
    note = "was calibrated with 53 of these 160 inputs, and is measured on the 107 others, as at export"
    again = verify(gated, checkpoint, calibration=texts, max_drop=80)
    assert {each.reproduced for each in again.figures} == {True}
    assert {each.dtype for each in again.figures} == set(DTYPES)
    assert again.notes == tuple(f"{dtype} {note}" for dtype in DTYPES[1:])
    assert f"q4 {note}" in again.table()
    assert json.loads(again.to_json())["notes"] == list(again.notes)


def test_a_short_file_says_that_it_flatters(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("\n".join(sentences()[:20]), encoding="utf-8")
    output = tmp_path / "out"
    bundle = export(checkpoint, output, dtypes=("fp32", "int8"), calibration=short, max_drop=80, progress=True)
    assert (
        "of 20 inputs, too few to spare any, variants are measured on all, also on the 20 that"
        in capfd.readouterr().err
    )
    assert (parity_of(bundle, "int8").texts, parity_of(bundle, "int8").seen) == (20, 20)
    assert parity_of(bundle, "fp32").seen == 0
    assert "| fp32, 20 texts, 20 of them calibrated with |" in (bundle.path / "README.md").read_text(encoding="utf-8")


def test_what_generates_is_measured_on_all(texts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is calibrated there, so nothing is lost for it."""
    model, tokenizer = build_generative("gpt2")
    options = {"calibration": texts, "max_drop": 80, "progress": True}
    bundle = export(model, tmp_path / "out", tokenizer=tokenizer, dtypes=("q4",), **options)
    assert (parity_of(bundle, "q4").texts, parity_of(bundle, "q4").seen) == (160, 0)
    assert bundle.manifest is not None
    assert "calibrated" not in bundle.manifest.variants["q4"].recipe
    assert "too few" not in capfd.readouterr().err


def test_layers_cost_what_they_do_to_inputs_that_are_calibrated_with(gated: Bundle, checkpoint: Path) -> None:
    loaded = load(resolve(Request(checkpoint)))
    task = loaded.checkpoint.task
    one, other = (Dataset(sentences()[start : start + 32], None, "made") for start in (0, 32))
    made = make_comparison(gated, loaded, task, data=Split(one, one, other, 0))
    turned = make_comparison(gated, loaded, task, data=measure_all(one))
    assert (
        made.calibration_distance("int8", gated)
        == turned.calibration_distance("int8", gated)
        == turned.distance("int8", gated)
    )
    assert made.calibration_distance("int8", gated) != made.distance("int8", gated)
