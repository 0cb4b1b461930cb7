"""Tokenizers that transformers runs in Python, converted and proved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForSeq2SeqLM,
    BlenderbotSmallTokenizer,
    ByT5Tokenizer,
    CTRLTokenizer,
    GenerationConfig,
    M2M100Tokenizer,
    MarianTokenizer,
    ProphetNetTokenizer,
)

from edgepipe import Tokenizer, pipeline
from edgepipe.errors import CheckpointError, ExportError
from edgepipe_export import export
from edgepipe_export.checkpoint.tokenizer_conversion.convert import convert_to_fast
from edgepipe_export.checkpoint.tokenizer_conversion.marian import looks_up_unknown
from edgepipe_export.checkpoint.tokenizer_files import tokenizer_corpus, write_tokenizer
from tests.tiny import TOKENIZERS
from tests.tiny.generative import build_generative

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


def m2m_100(folder: Path) -> M2M100Tokenizer:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    processor = train(folder, "sentencepiece", lines, vocab_size=900, model_type="bpe")
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
    "ctrl": ctrl,
    "blenderbot-small": blenderbot_small,
    "prophetnet": prophetnet,
    "byt5": byt5,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_in_python_is_converted(kind: str, tmp_path: Path) -> None:
    slow = KINDS[kind](tmp_path / "files")
    assert not slow.is_fast
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    write_tokenizer(convert_to_fast(slow), bundle)  # each step proves itself on the corpus
    ours = Tokenizer.from_pretrained(bundle)
    known = set()
    for text in tokenizer_corpus():
        wanted = slow(text)["input_ids"]
        if kind == "marian" and looks_up_unknown(slow, wanted):
            continue
        assert ours(text)["input_ids"] == wanted, text
        ids = slow(text, add_special_tokens=False)["input_ids"]
        assert ours.decode(ids, skip_special_tokens=True) == slow.decode(ids, skip_special_tokens=True), text
        known.update(wanted)
    assert len(known) > 150, "the corpus is mostly unknown to this tokenizer: it proves little"


def test_a_code_before_a_source_says_the_language(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    fast = convert_to_fast(slow)
    for text in (">>fra<< Hello there", ">>deu<<Hello  there ", ">>fra<<"):
        assert fast(text)["input_ids"] == slow(text)["input_ids"]
        assert len(slow(text)["input_ids"]) < 8


def test_what_marian_writes_has_the_targets_pieces(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    fast = convert_to_fast(slow)
    targets = [slow.encoder[piece] for piece in pieces(slow.spm_target)]
    own = [number for number in targets if slow.spm_source.IsUnknown(slow.spm_source.PieceToId(slow.decoder[number]))]
    assert len(own) > 100
    assert fast.decode(own) == slow.decode(own)
    assert fast.decode(targets) == slow.decode(targets)


def test_marian_with_a_vocabulary_for_each_side_is_refused(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    slow.separate_vocabs = True
    with pytest.raises(ExportError, match="a vocabulary for the source and another for the target"):
        convert_to_fast(slow)


def test_m2m_100_says_the_language_that_it_is_set_to(tmp_path: Path) -> None:
    slow = m2m_100(tmp_path)
    slow.src_lang = "fr"
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_tokenizer(convert_to_fast(slow), folder)
    ours = Tokenizer.from_pretrained(folder)
    assert ours.language == "__fr__"
    assert ours("Bonjour")["input_ids"] == slow("Bonjour")["input_ids"]
    slow.src_lang = "de"
    assert ours.for_language("de")("Hallo")["input_ids"] == slow("Hallo")["input_ids"]
    assert slow("Hallo")["input_ids"][0] == slow.get_lang_id("de")


def test_a_conversion_that_is_not_exact_is_refused_and_the_first_text_is_shown(tmp_path: Path) -> None:
    slow = ctrl(tmp_path)
    slow._tokenize = lambda text: ["the"]
    with pytest.raises(ExportError, match=r"this CTRLTokenizer cannot be written .* of '"):
        convert_to_fast(slow)


def test_other_tokenizers_in_python_are_named(tmp_path: Path) -> None:
    class Spelling(ByT5Tokenizer):
        pass

    with pytest.raises(CheckpointError, match=r"Spelling is neither a fast tokenizer .* MarianTokenizer"):
        convert_to_fast(Spelling())


@pytest.mark.coverage
@pytest.mark.parametrize(("kind", "task"), [("marian", "translation"), ("m2m_100", "translation_en_to_fr")])
def test_a_checkpoint_with_a_tokenizer_in_python(kind: str, task: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    slow = KINDS[kind](tmp_path / "files")
    start = slow.pad_token_id if kind == "marian" else slow.eos_token_id
    model, _ = build_generative(
        kind,
        vocab_size=len(slow) + 108,  # M2M-100's languages are not counted
        pad_token_id=slow.pad_token_id,
        eos_token_id=slow.eos_token_id,
        decoder_start_token_id=start,
    )
    ends = {"pad_token_id": slow.pad_token_id, "eos_token_id": slow.eos_token_id}
    model.generation_config = GenerationConfig(**ends, decoder_start_token_id=start)
    model.save_pretrained(checkpoint)
    slow.save_pretrained(checkpoint)
    assert not (checkpoint / "tokenizer.json").exists()
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)  # with the positions that are not saved
    ours = pipeline(task, export(checkpoint, tmp_path / "bundle", task=task))
    texts = ["Hello there, my friend.", "How are you?"]
    search = {"max_new_tokens": 12, "num_beams": 2}
    options = {} if kind == "marian" else {"forced_bos_token_id": slow.get_lang_id("fr")}
    encoded = slow(texts, return_tensors="pt", padding=True)
    ids = model.generate(**encoded, **search, **options)
    wanted = [slow.decode(row, skip_special_tokens=True).replace("__fr__", "") for row in ids]
    assert [each["translation_text"] for each in ours(texts, **search)] == wanted
