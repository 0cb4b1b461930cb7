"""Tokenizers without a tokenizer.json: sentencepiece models, and vocabularies of Python tokenizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers
from transformers import AutoTokenizer, XLMRobertaTokenizer

from edgepipe import Tokenizer, pipeline
from edgepipe.errors import CheckpointError, ExportError
from edgepipe_export import export
from edgepipe_export.checkpoint.tokenizer_files import tokenizer_corpus, write_tokenizer
from tests.export.checkpoint.test_tokenizer_files import load
from tests.golden.compare import assert_same
from tests.tiny import TOKENIZERS, build

CORPUS = TOKENIZERS.parent / "corpus.txt"

# What each kind of sentencepiece model is trained with: T5 keeps its special tokens in the model, fairseq renumbers.
TRAINING: dict[str, dict[str, Any]] = {
    "t5": {"model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "fairseq": {"model_type": "unigram", "unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
    "llama": {"model_type": "bpe", "byte_fallback": True, "unk_id": 0, "bos_id": 1, "eos_id": 2},
}

# Tokenizer class: its model_type, the name it gives the file, and the kind of model in it.
SENTENCEPIECE = {
    "T5Tokenizer": ("t5", "spiece.model", "t5"),
    "XLMRobertaTokenizer": ("xlm-roberta", "sentencepiece.bpe.model", "fairseq"),
    "CamembertTokenizer": ("camembert", "sentencepiece.bpe.model", "fairseq"),
    "MBartTokenizer": ("mbart", "sentencepiece.bpe.model", "fairseq"),
    "XLNetTokenizer": ("xlnet", "spiece.model", "fairseq"),
    "DebertaV2Tokenizer": ("deberta-v2", "spm.model", "fairseq"),
    "BigBirdTokenizer": ("big_bird", "spiece.model", "fairseq"),
    "RemBertTokenizer": ("rembert", "sentencepiece.model", "fairseq"),
    "LlamaTokenizer": ("llama", "tokenizer.model", "llama"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``trained(kind)``: a small sentencepiece model."""
    folder = tmp_path_factory.mktemp("sentencepiece")

    def train(kind: str) -> Path:
        path = folder / f"{kind}.model"
        if not path.exists():
            sentencepiece.SentencePieceTrainer.train(
                input=str(CORPUS),
                model_prefix=str(folder / kind),
                vocab_size=900,
                character_coverage=0.98,
                minloglevel=2,
                **TRAINING[kind],
            )
        return path

    return train


@pytest.fixture
def sentencepiece_only(trained: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """``sentencepiece_only(tokenizer_class)``: a directory as it was published before there was tokenizer.json."""

    def make(name: str) -> Path:
        model_type, file_name, kind = SENTENCEPIECE[name]
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(trained(kind), folder / file_name)
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        return folder

    return make


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_a_sentencepiece_model_is_converted(
    name: str, sentencepiece_only: Callable[[str], Path], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(sentencepiece_only(name))
    assert type(tokenizer).__name__ == name
    output = tmp_path / "bundle"
    output.mkdir()
    write_tokenizer(tokenizer, output)  # proves it on the corpus
    assert (output / "tokenizer.json").is_file()
    ours = Tokenizer.from_pretrained(output)
    texts = [text for text in tokenizer_corpus() if text]
    assert [ours(text)["input_ids"] for text in texts] == [tokenizer(text)["input_ids"] for text in texts]
    known = {number for text in texts for number in ours(text)["input_ids"]}
    assert len(known) > 150, "the corpus is mostly unknown to this tokenizer: it proves little"


@pytest.mark.parametrize("family", ["bert", "electra", "roberta", "gpt2"])
def test_a_vocabulary_is_converted(family: str, tmp_path: Path) -> None:
    content = json.loads((TOKENIZERS / family / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    folder, output = tmp_path / "old", tmp_path / "bundle"
    folder.mkdir()
    output.mkdir()
    shutil.copy(TOKENIZERS / family / "tokenizer_config.json", folder)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    if "merges" in content:
        (folder / "vocab.json").write_text(json.dumps(content["vocab"]), encoding="utf-8")
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    else:
        (folder / "vocab.txt").write_text("\n".join(content["vocab"]) + "\n", encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    write_tokenizer(tokenizer, output)
    again = load(family)
    for text in tokenizer_corpus():
        if "<mask>" not in text:  # that RoBERTa's takes the blank before it is said in tokenizer.json only
            assert tokenizer(text)["input_ids"] == again(text)["input_ids"]


def test_a_checkpoint_with_a_sentencepiece_model_alone(
    sentencepiece_only: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = sentencepiece_only("XLMRobertaTokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, _ = build("xlm-roberta", vocab_size=len(tokenizer))
    model.save_pretrained(folder)
    assert not (folder / "tokenizer.json").exists()
    ours = pipeline("text-classification", export(folder, tmp_path / "bundle", verify=False))
    texts = ["A fine day.", "這部電影很好看", "שלום עולם", "e\u0301 \u200b x" + " " * 20 + "😀"]
    assert_same(ours(texts), transformers.pipeline("text-classification", model=str(folder), device="cpu")(texts))


class Shouting(XLMRobertaTokenizer):
    """A tokenizer with a step in Python, which no tokenizer.json can hold."""

    def __call__(self, *texts: str, **options: Any) -> Any:
        return super().__call__(*(text.replace("é", "e") for text in texts), **options)


def test_a_step_in_python_fails_the_export_and_the_first_text_is_shown(
    sentencepiece_only: Callable[[str], Path], tmp_path: Path
) -> None:
    tokenizer = Shouting.from_pretrained(sentencepiece_only("XLMRobertaTokenizer"))
    model, _ = build("xlm-roberta", vocab_size=len(tokenizer))
    first = next(text for text in tokenizer_corpus() if "é" in text)
    with pytest.raises(ExportError, match=r"does not read this Shouting as transformers does; .* of '") as caught:
        export(model, tmp_path / "bundle", tokenizer=tokenizer, verify=False)
    assert repr(first)[:20] in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_a_tokenizer_in_python_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "xlm"
    build("xlm", directory=folder)
    for path in folder.glob("*token*"):
        path.unlink()
    words = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "<special0>": 4, "<special1>": 5, "a</w>": 6}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "XLMTokenizer"}))
    with pytest.raises(CheckpointError, match="XLMTokenizer"):
        export(folder, tmp_path / "bundle", verify=False)
