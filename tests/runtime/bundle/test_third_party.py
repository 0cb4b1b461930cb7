"""Directories that other tools made, loaded as they are: real exports, and what may be different in others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sentence_transformers.sentence_transformer import modules as models

from edgepipe import Bundle, Model, pipeline
from edgepipe.bundle.third_party import infer_graph_task, is_sentence_encoder, max_positions
from edgepipe.cli.commands.info import describe
from edgepipe.errors import TaskError
from tests.golden.compare import assert_same
from tests.runtime.embeddings.sentence_modules import HIDDEN, write_modules
from tests.runtime.foreign_folders import as_repository
from tests.runtime.small_bundle import LABELS, expected_logits, write_foreign, write_graph
from tests.tiny import LIMIT
from tests.tiny.table import ARCHITECTURES, MORE

FOLDER = Path(__file__).parents[2] / "data" / "foreign"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def facts(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """A result as JSON has it, to compare with one that was in a file."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def check_answers(made: Any, expected: Any, dtype: str) -> None:
    for call, answer in zip(expected["calls"], expected["answers"][dtype], strict=True):
        assert_same(plain(made(call["inputs"], **call["options"])), answer, str(call["inputs"]))


# What optimum-onnx and transformers.js leave, with the answers of their own time.


def test_every_task_and_both_layouts_are_here() -> None:
    assert {facts(name)["task"] for name in NAMES} == {
        "text-classification",
        "token-classification",
        "question-answering",
        "fill-mask",
        "feature-extraction",
    }
    assert {name.partition("-")[0] for name in NAMES} == {"optimum", "transformersjs"}
    assert all(facts(name)["versions"]["optimum-onnx"] == "0.1.0" for name in NAMES)


@pytest.mark.parametrize("dtype", ["fp32", "q8"])
@pytest.mark.parametrize("name", NAMES)
def test_a_real_export(name: str, dtype: str) -> None:
    expected = facts(name)
    made = pipeline(None, FOLDER / name, dtype=dtype)
    assert made.name == expected["task"]
    check_answers(made, expected, dtype)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("optimum")])
def test_the_same_graphs_as_a_transformers_js_repository(name: str, tmp_path: Path) -> None:
    as_repository(FOLDER / name, tmp_path)
    expected = facts(name)
    for dtype in Bundle.load(tmp_path).dtypes:
        check_answers(pipeline(None, tmp_path, dtype=dtype), expected, dtype)


@pytest.mark.parametrize("name", NAMES)
def test_variants_and_files(name: str) -> None:
    bundle = Bundle.load(FOLDER / name)
    assert (bundle.manifest, bundle.dtypes, bundle.default_dtype) == (None, ("fp32", "q8"), "fp32")
    assert [path.name for path in bundle.files("q8")] == ["model_quantized.onnx"]  # the weights are inside
    assert Model.from_pretrained(FOLDER / name, "q8").dtype == "q8"


def test_the_task_by_name() -> None:
    name = "optimum-feature-extraction"  # its config says BertForMaskedLM
    check_answers(pipeline("feature-extraction", FOLDER / name), facts(name), "fp32")
    with pytest.raises(TaskError, match="is for feature-extraction, not for fill-mask"):
        pipeline("fill-mask", FOLDER / name)


@pytest.mark.parametrize("name", NAMES)
def test_info_tells_what_the_graph_tells(name: str) -> None:
    assert describe(Bundle.load(FOLDER / name))["task"] == facts(name)["task"]


@pytest.mark.parametrize("architecture", ARCHITECTURES | MORE)
def test_the_positions_of_every_family(architecture: str) -> None:
    entry = (ARCHITECTURES | MORE)[architecture]
    rows = LIMIT + entry.extra_positions
    config = {"model_type": entry.model_type, "max_position_embeddings": rows, "pad_token_id": 1}
    assert max_positions(config) == LIMIT
    assert max_positions({"model_type": entry.model_type, "max_position_embeddings": rows}) == LIMIT
    assert max_positions({"model_type": entry.model_type}) is None


def test_a_roberta_that_does_not_say_its_limit(tmp_path: Path) -> None:
    write_foreign(tmp_path, config={"model_type": "roberta", "max_position_embeddings": 514}, limit=int(1e30))
    write_graph(tmp_path / "model.onnx")
    assert Bundle.load(tmp_path).max_length == 512


@pytest.mark.parametrize("name", NAMES)
def test_a_config_that_names_no_class(name: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / name, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del config["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert pipeline(None, tmp_path).name == facts(name)["task"]


# How the outputs tell the task.

TOKENS = ["batch_size", "sequence_length"]


@pytest.mark.parametrize(
    ("said", "outputs", "task"),
    [
        (None, {"logits": ["batch_size", 3]}, "text-classification"),
        (None, {"logits": ["batch_size", "Gemmlogits_dim_1"]}, "text-classification"),
        (None, {"logits": [*TOKENS, 900]}, "fill-mask"),
        (None, {"logits": [*TOKENS, 5]}, "token-classification"),
        (None, {"logits": [*TOKENS, "Addlogits_dim_2"]}, None),
        ("fill-mask", {"logits": [*TOKENS, "Addlogits_dim_2"]}, "fill-mask"),
        ("token-classification", {"logits": [*TOKENS, None]}, "token-classification"),
        (None, {"start_logits": TOKENS, "end_logits": TOKENS}, "question-answering"),
        ("fill-mask", {"last_hidden_state": [*TOKENS, 16]}, "feature-extraction"),
        (None, {"token_embeddings": [*TOKENS, 16], "sentence_embedding": ["batch_size", 16]}, "feature-extraction"),
        ("text-classification", {"logits": [*TOKENS, 900]}, "fill-mask"),
        ("text-classification", {"scores": ["batch_size", 3]}, "text-classification"),
        ("text-classification", {"logits": []}, "text-classification"),
        (None, {"scores": ["batch_size", 3]}, None),
    ],
)
def test_the_task_of_a_graph(said: str | None, outputs: dict[str, Any], task: str | None) -> None:
    assert infer_graph_task(said, {"vocab_size": 900}, outputs) == task


@pytest.mark.parametrize("shape", [["batch_size", 3], [*TOKENS, 900]])
def test_logits_of_an_unknown_class_are_not_guessed_at(shape: list[Any]) -> None:
    config = {"architectures": ["GPT2LMHeadModel"], "vocab_size": 900}
    assert infer_graph_task(None, config, {"logits": shape}) is None


# What other exports differ in.


@pytest.mark.parametrize("tokenizer", ["bert", "roberta"])
@pytest.mark.parametrize("integers", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize(
    "inputs", [("input_ids",), ("token_type_ids", "attention_mask", "input_ids"), ("input_ids", "token_type_ids")]
)
def test_inputs_of_any_kind(tmp_path: Path, inputs: tuple[str, ...], integers: int, tokenizer: str) -> None:
    write_foreign(tmp_path, tokenizer=tokenizer)
    write_graph(tmp_path / "model.onnx", inputs=inputs, integers=integers, external=False)
    made = pipeline(None, tmp_path)
    encoding = made.tokenizer("I love this")
    types = encoding.get("token_type_ids", [0] * len(encoding["input_ids"])) if "token_type_ids" in inputs else None
    logits = expected_logits("fp32", [encoding["input_ids"]], None, None if types is None else [types])[0]
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    (best,) = made("I love this")
    assert best["label"] == LABELS[int(logits.argmax())]
    assert best["score"] == pytest.approx(float(scores.max()), abs=1e-5)


@pytest.mark.parametrize(("element", "tolerance"), [(TensorProto.FLOAT16, 1e-2), (TensorProto.DOUBLE, 1e-5)])
def test_outputs_in_another_precision_come_as_float32(tmp_path: Path, element: int, tolerance: float) -> None:
    write_foreign(tmp_path)
    path = tmp_path / "onnx" / "model_fp16.onnx"
    write_graph(path, external=False)
    graph = onnx.load(path)
    graph.graph.node[-1].output[0] = "exact"
    graph.graph.node.append(helper.make_node("Cast", ["exact"], ["logits"], to=element))
    graph.graph.output[0].type.tensor_type.elem_type = element
    onnx.save(graph, path)
    model = Model.from_pretrained(tmp_path, "fp16")
    logits = model(input_ids=[[5, 6, 7]])["logits"]
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected_logits("fp32", [[5, 6, 7]]), atol=tolerance)
    assert type(pipeline(None, tmp_path)("I love this")[0]["score"]) is float


def test_which_directories_are_sentence_encoders(tmp_path: Path) -> None:
    assert not is_sentence_encoder(tmp_path)
    (tmp_path / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.base.modules.Transformer"}]')
    assert not is_sentence_encoder(tmp_path), "a cross-encoder has no pooling"
    assert is_sentence_encoder(write_modules(tmp_path, [models.Pooling(HIDDEN, "mean")]))
