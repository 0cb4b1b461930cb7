"""Models that write, as optimum-onnx left them: a graph with a cache, decoders merged by an If, and decoders apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, Model, pipeline
from edgepipe.cli.commands.info import describe
from edgepipe.errors import BundleError
from tests.golden.compare import assert_same
from tests.runtime.foreign_folders import as_repository

FOLDER = Path(__file__).parents[2] / "data" / "foreign_writers"
# Of decoders apart the first serves every step.
pytestmark = pytest.mark.filterwarnings("ignore:.* has no cache inputs")
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def facts(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def check_answers(made: Any, expected: Any, **options: Any) -> None:
    for call, answer in zip(expected["calls"], expected["answers"], strict=True):
        assert_same(made(call["inputs"], **call["options"], **options), answer, str(call))


def test_a_model_of_two_graphs_is_no_single_one() -> None:
    with pytest.raises(BundleError, match=r"has no model\.onnx for fp32, only .*encoder_model\.onnx.*pipeline\(\)"):
        Model.from_pretrained(FOLDER / "merged")


def test_every_layout_of_graphs_is_here() -> None:
    graphs = {name: {path.stem for path in (FOLDER / name).glob("*.onnx")} for name in NAMES}
    assert graphs == {
        "decoder": {"model"},
        "merged": {"encoder_model", "decoder_model_merged"},
        "separate": {"encoder_model", "decoder_model", "decoder_with_past_model"},
    }
    assert all(facts(name)["versions"]["optimum-onnx"] == "0.1.0" for name in NAMES)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_it_writes_what_pytorch_writes(name: str, batch_size: int) -> None:
    expected = facts(name)
    made = pipeline(None, FOLDER / name)
    assert made.name == describe(Bundle.load(FOLDER / name))["task"]
    check_answers(pipeline(expected["task"], FOLDER / name), expected, batch_size=batch_size)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_graphs_as_a_transformers_js_repository(name: str, tmp_path: Path) -> None:
    as_repository(FOLDER / name, tmp_path)
    expected = facts(name)
    check_answers(pipeline(expected["task"], tmp_path), expected)
