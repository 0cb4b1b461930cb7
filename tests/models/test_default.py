"""The embedded default: the checkpoint it is made from, and where the finished bundle is found."""

import json
from pathlib import Path

import pytest

import edgepipe_models
from edgepipe import pipeline
from edgepipe_models import default_bundle
from tests.conftest import shared
from training.data import Example, read_examples

CHECKPOINT = Path(__file__).resolve().parents[2] / "models" / "default"

BUNDLE = Path(edgepipe_models.__file__).parent / "default"
EVERYDAY = Path(__file__).parent / "everyday.tsv"


def test_a_missing_bundle_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgepipe_models, "_ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="export the checkpoint models/default"):
        default_bundle()


def test_the_bundle_is_the_directory_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(edgepipe_models, "_ROOT", tmp_path)
    assert default_bundle() == tmp_path / "default"


def test_the_checkpoint_is_a_plain_bert_classifier() -> None:
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "NEGATIVE", "1": "POSITIVE"}
    settings = json.loads((CHECKPOINT / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["model_max_length"] == config["max_position_embeddings"] == 512
    assert settings["do_lower_case"] is True
    tokenizer = json.loads((CHECKPOINT / "tokenizer.json").read_text(encoding="utf-8"))
    assert sorted(tokenizer["model"]["vocab"].values()) == list(range(config["vocab_size"]))


def test_the_checkpoint_fits_a_bundle_of_ten_megabytes() -> None:
    header = (CHECKPOINT / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    tensors = json.loads(header[8 : 8 + length])
    tensors.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in tensors.values()} == {"BF16"}
    parameters = (len(header) - 8 - length) // 2
    # At 8 bits a parameter; the rest is for the graph, the tokenizer, scales and the card.
    assert parameters < 9_300_000


def test_the_checkpoint_gets_everyday_sentences_right() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    classify = transformers.pipeline("text-classification", str(CHECKPOINT), dtype=torch.float32, device="cpu")
    examples = read_examples(EVERYDAY)
    answers = classify([example.text for example in examples])
    expected = ["POSITIVE" if example.label else "NEGATIVE" for example in examples]
    wrong = [
        example.text
        for example, label, answer in zip(examples, expected, answers, strict=True)
        if answer["label"] != label
    ]
    # The card says 36 of 40 and names these as what the model gets wrong.
    assert wrong == [
        "I can't recommend it enough",
        "Nothing to complain about",
        "Never again.",
        "Oh great, another delay",
    ]


def test_the_bundle_is_complete_and_within_ten_megabytes() -> None:
    files = {path.relative_to(BUNDLE).as_posix(): path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file()}
    graph = {"onnx/model_int8.onnx", "onnx/model_int8.onnx_data"}
    assert graph | {"config.json", "edgepipe.json", "tokenizer.json", "tokenizer_config.json"} <= files.keys()
    assert sum(files.values()) <= 10_000_000
    assert default_bundle() == BUNDLE


def accuracy(examples: list[Example]) -> float:
    answers = pipeline("text-classification", batch_size=8)([example.text for example in examples])
    pairs = zip(answers, examples, strict=True)
    return sum((answer["label"] == "POSITIVE") == example.label for answer, example in pairs) / len(examples)


def test_the_bundle_gets_everyday_sentences_right() -> None:
    assert accuracy(read_examples(EVERYDAY)) >= 0.82


def test_the_bundle_is_accurate_on_sst2() -> None:
    assert accuracy(read_examples(shared("data", "sst2", "dev.tsv"))) >= 0.82
