"""Named arrays in, named arrays out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edgepipe import Model, Tokenizer
from edgepipe.errors import BundleError, EdgepipeError, InputError
from tests.runtime.small_bundle import LIMIT, VOCABULARY, expected_logits, write_bundle

IDS = [[2, 30, 31, 3], [2, 40, 3, 0]]
MASK = [[1, 1, 1, 1], [1, 1, 1, 0]]
TYPES = [[0, 0, 1, 1], [0, 1, 1, 0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model"), ("fp32", "int8"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.from_pretrained(folder)


def test_logits_of_each_variant(folder: Path) -> None:
    for dtype in ("fp32", "int8"):
        model = Model.from_pretrained(folder, dtype)
        result = model(input_ids=IDS, attention_mask=MASK)
        assert list(result) == list(model.output_names) == ["logits"]
        assert result["logits"].dtype == np.float32
        np.testing.assert_allclose(result["logits"], expected_logits(dtype, IDS, MASK), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "int64", "uint16"])
def test_any_integers_are_taken(model: Model, kind: str) -> None:
    result = model(input_ids=np.array(IDS, kind), attention_mask=np.array(MASK, kind))
    np.testing.assert_allclose(result["logits"], expected_logits("fp32", IDS, MASK), rtol=1e-5, atol=1e-6)


def test_a_graph_that_declares_int32(tmp_path: Path) -> None:
    model = Model.from_pretrained(write_bundle(tmp_path, integers=TensorProto.INT32))
    assert model.session.inputs == {"input_ids": "int32", "attention_mask": "int32"}
    result = model(input_ids=np.array(IDS), attention_mask=MASK)
    np.testing.assert_allclose(result["logits"], expected_logits("fp32", IDS, MASK), rtol=1e-5, atol=1e-6)


def test_what_the_graph_does_not_declare_is_left_out(model: Model) -> None:
    result = model(input_ids=IDS, attention_mask=MASK, token_type_ids=TYPES, special_tokens_mask="anything")
    np.testing.assert_allclose(result["logits"], expected_logits("fp32", IDS, MASK), rtol=1e-5, atol=1e-6)


def test_missing_masks_are_as_in_pytorch(tmp_path: Path) -> None:
    model = Model.from_pretrained(write_bundle(tmp_path, inputs=("input_ids", "token_type_ids", "attention_mask")))
    assert model.input_names == ("input_ids", "token_type_ids", "attention_mask")
    zeros = np.zeros_like(IDS).tolist()
    given: dict[str, Any] = {"attention_mask": MASK, "token_type_ids": TYPES}
    for names in ([], ["attention_mask"], ["token_type_ids"], ["token_type_ids", "attention_mask"]):
        passed = {name: given[name] for name in names}
        expected = expected_logits("fp32", IDS, passed.get("attention_mask"), passed.get("token_type_ids", zeros))
        np.testing.assert_allclose(model(input_ids=IDS, **passed)["logits"], expected, rtol=1e-5, atol=1e-5)


def test_a_tokenizer_feeds_a_model(folder: Path, model: Model) -> None:
    encoding = Tokenizer.from_pretrained(folder)(["a b", "c"], padding=True, return_tensors="np")
    expected = expected_logits("fp32", encoding["input_ids"], encoding["attention_mask"])
    np.testing.assert_allclose(model(**encoding)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_an_input_that_nothing_makes(tmp_path: Path) -> None:
    model = Model.from_pretrained(write_bundle(tmp_path, inputs=("input_ids", "pixel_values")))
    with pytest.raises(BundleError, match=r"'pixel_values'.*declares input_ids, pixel_values"):
        model(input_ids=IDS)
    assert model(input_ids=IDS, pixel_values=IDS)["logits"].shape == (2, 3)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ({}, "input_ids is missing"),
        ({"input_ids": None}, "input_ids is missing"),
        ({"attention_mask": MASK}, "input_ids is missing"),
        ({"input_ids": [[1, 2], [3]]}, "input_ids is ragged: pad the batch"),
        ({"input_ids": [1, 2, 3]}, r"\[batch, length\], got int64 of shape \(3,\)"),
        ({"input_ids": 5}, r"\[batch, length\]"),
        ({"input_ids": [[[1]]]}, r"\[batch, length\]"),
        ({"input_ids": [[1.0, 2.0]]}, "must be integers.*float64"),
        ({"input_ids": [["a"]]}, "must be integers"),
        ({"input_ids": [[2**70]]}, "must be integers"),
        ({"input_ids": "text"}, "must be integers"),
        ({"input_ids": {"a": 1}}, "must be integers"),
        ({"input_ids": []}, "must be integers|is empty"),
        ({"input_ids": [[]]}, "is empty"),
        ({"input_ids": np.zeros((0, 4), np.int64)}, "is empty"),
        ({"input_ids": IDS, "attention_mask": MASK[:1]}, r"attention_mask has the shape \(1, 4\), input_ids \(2, 4\)"),
        ({"input_ids": IDS, "attention_mask": None}, "attention_mask is missing"),
        ({"input_ids": IDS, "attention_mask": [[1.0] * 4] * 2}, "attention_mask must be integers"),
        ({"input_ids": [[1] * (LIMIT + 1)]}, rf"{LIMIT + 1} tokens are more than the {LIMIT}.*truncation=True"),
    ],
)
def test_input_that_cannot_be_used(model: Model, encoding: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(**encoding)


def test_the_limit_itself_is_taken(model: Model) -> None:
    ids = [[1] * LIMIT]
    np.testing.assert_allclose(model(input_ids=ids)["logits"], expected_logits("fp32", ids), rtol=1e-4, atol=1e-5)


def test_no_limit(tmp_path: Path) -> None:
    model = Model.from_pretrained(write_bundle(tmp_path, max_length=None))
    assert model(input_ids=[[1] * 5000])["logits"].shape == (1, 3)


@pytest.mark.parametrize("token", [VOCABULARY, -VOCABULARY - 1, 10**9])
def test_a_token_that_the_graph_does_not_have(model: Model, token: int) -> None:
    with pytest.raises(EdgepipeError, match=r"the graph failed on input_ids \(1, 1\) int64.*out of.*bounds"):
        model(input_ids=[[token]])


def test_the_model_is_as_good_after_an_error(model: Model) -> None:
    with pytest.raises(EdgepipeError):
        model(input_ids=[[VOCABULARY]])
    np.testing.assert_allclose(model(input_ids=[[5]])["logits"], expected_logits("fp32", [[5]]), rtol=1e-5)
