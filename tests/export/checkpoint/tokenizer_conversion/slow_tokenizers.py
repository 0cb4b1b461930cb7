"""Tokenizers that transformers runs in Python, small ones trained on the corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    BlenderbotSmallTokenizer,
    ByT5Tokenizer,
    CTRLTokenizer,
    M2M100Tokenizer,
    MarianTokenizer,
    ProphetNetTokenizer,
)

from tests.tiny import TOKENIZERS

CORPUS = TOKENIZERS.parent / "corpus.txt"


def train(folder: Path, name: str, lines: list[str], **options: Any) -> sentencepiece.SentencePieceProcessor:
    """A small sentencepiece model, ``<name>.model`` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / f"{name}.txt"),
        model_prefix=str(folder / name),
        character_coverage=1.0,
        minloglevel=2,
        hard_vocab_limit=False,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.model"))


def pieces(processor: sentencepiece.SentencePieceProcessor) -> list[str]:
    return [processor.IdToPiece(index) for index in range(3, processor.GetPieceSize())]


def marian(folder: Path) -> MarianTokenizer:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    source = train(folder, "source", lines[: len(lines) * 2 // 3], vocab_size=700)
    target = train(folder, "target", lines[len(lines) // 3 :], vocab_size=700)
    tokens = ["</s>", "<unk>", *dict.fromkeys([*pieces(target), *pieces(source), ">>fra<<", ">>deu<<"]), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    for name in ("source", "target"):
        shutil.copy(folder / f"{name}.model", folder / f"{name}.spm")
    return MarianTokenizer(str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"))


def m2m_100(folder: Path, model_type: str = "bpe") -> M2M100Tokenizer:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    processor = train(folder, "sentencepiece", lines, vocab_size=900, model_type=model_type)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces(processor)]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    return M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.model"))


def parts(folder: Path, special: list[str], lower: bool) -> tuple[str, str]:
    """Files of a vocabulary with ``@@``, and of its merges."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = RustTokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    text = CORPUS.read_text(encoding="utf-8")
    trainer = BpeTrainer(vocab_size=900, end_of_word_suffix="</w>", show_progress=False)
    backend.train_from_iterator((text.lower() if lower else text).splitlines(), trainer)
    model = json.loads(backend.to_str())["model"]
    names = [token[:-4] if token.endswith("</w>") else f"{token}@@" for token in model["vocab"]]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*special, *names]))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return str(folder / "vocab.json"), str(folder / "merges.txt")


def ctrl(folder: Path) -> CTRLTokenizer:
    return CTRLTokenizer(*parts(folder, ["<unk>"], lower=False))


def blenderbot_small(folder: Path) -> BlenderbotSmallTokenizer:
    special = ["__null__", "__start__", "__end__", "__unk__", "__newln__"]
    return BlenderbotSmallTokenizer(*parts(folder, special, lower=True))


def prophetnet(folder: Path) -> ProphetNetTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = json.loads((TOKENIZERS / "bert" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    (folder / "prophetnet.tokenizer").write_text("\n".join([*vocabulary, "[X_SEP]"]) + "\n", encoding="utf-8")
    return ProphetNetTokenizer(str(folder / "prophetnet.tokenizer"))


def byt5(folder: Path) -> ByT5Tokenizer:
    return ByT5Tokenizer()


KINDS: dict[str, Callable[[Path], Any]] = {
    "marian": marian,
    "m2m_100": m2m_100,
    "m2m_100, unigram": partial(m2m_100, model_type="unigram"),
    "ctrl": ctrl,
    "blenderbot-small": blenderbot_small,
    "prophetnet": prophetnet,
    "byt5": byt5,
}
