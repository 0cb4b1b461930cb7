"""Make the small tokenizers under ``tests/data/tokenizers``, one directory per family.

Each is trained on ``corpus.txt`` (a few kilobytes in forty languages, with emoji, combining marks and
right-to-left scripts), built with the transformers class of its family and written by ``save_pretrained``:
exactly what a bundle's tokenizer files are. They are committed; run this only to change them::

    python tests/data/make_tokenizers.py [family ...]

The trainers break ties by hash order, so a second run gives the same families but not always the same ids.
Needs transformers (written with 5.23.0).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    DebertaV2Tokenizer,
    DistilBertTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    MBartTokenizer,
    MPNetTokenizer,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

HERE = Path(__file__).parent
CORPUS = (HERE / "corpus.txt").read_text(encoding="utf-8").splitlines()

BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def train(like: Any, model: Any, trainer: Any) -> Tokenizer:
    """Train `model` on the corpus behind the normalizer and pre-tokenizer of `like` (of transformers)."""
    backend = Tokenizer(model)
    if like.backend_tokenizer.normalizer is not None:
        backend.normalizer = like.backend_tokenizer.normalizer
    if like.backend_tokenizer.pre_tokenizer is not None:
        backend.pre_tokenizer = like.backend_tokenizer.pre_tokenizer
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def wordpiece_vocab(like: Any, special: list[str], size: int = 900) -> dict[str, int]:
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, limit_alphabet=330, show_progress=False
    )
    vocab = train(like, WordPiece(unk_token="[UNK]"), trainer).get_vocab()
    return dict(sorted(vocab.items(), key=lambda item: item[1]))


def byte_level_parts(like: Any, special: list[str], size: int = 620) -> tuple[dict[str, int], list[tuple[str, str]]]:
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return bpe_parts(train(like, BPE(), trainer))


def bpe_parts(backend: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def unigram_vocab(like: Any, special: list[str], unk: str, last: str | None = None) -> list[tuple[str, float]]:
    trainer = trainers.UnigramTrainer(vocab_size=780, special_tokens=special, unk_token=unk, show_progress=False)
    backend = train(like, Unigram(), trainer)
    vocab = [(token, score) for token, score in json.loads(backend.to_str())["model"]["vocab"]]
    return [*vocab, (last, 0.0)] if last else vocab


def bert() -> Any:
    return BertTokenizer(vocab=wordpiece_vocab(BertTokenizer(), BERT_SPECIAL), model_max_length=512)


def distilbert() -> Any:
    like = DistilBertTokenizer(do_lower_case=False)
    vocab = wordpiece_vocab(like, BERT_SPECIAL)
    return DistilBertTokenizer(vocab=vocab, do_lower_case=False, model_max_length=512)


def electra() -> Any:
    # transformers 5 has no class of its own for ELECTRA; strip_accents=False sets this one apart from `bert`.
    like = BertTokenizer(strip_accents=False)
    return BertTokenizer(vocab=wordpiece_vocab(like, BERT_SPECIAL), strip_accents=False, model_max_length=512)


def mpnet() -> Any:
    special = ["<s>", "<pad>", "</s>", "[UNK]"]
    vocab = wordpiece_vocab(BertTokenizer(), special)
    vocab["<mask>"] = len(vocab)
    return MPNetTokenizer(vocab=vocab, model_max_length=512)


def roberta() -> Any:
    vocab, merges = byte_level_parts(RobertaTokenizer(), ROBERTA_SPECIAL)
    vocab["<mask>"] = len(vocab)
    mask = AddedToken("<mask>", lstrip=True, special=True, normalized=False)
    return RobertaTokenizer(vocab=vocab, merges=merges, mask_token=mask, model_max_length=512)


def gpt2() -> Any:
    vocab, merges = byte_level_parts(GPT2Tokenizer(), ["<|endoftext|>"])
    return GPT2Tokenizer(vocab=vocab, merges=merges, model_max_length=1024, padding_side="left")


def modernbert() -> Any:
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    vocab, merges = byte_level_parts(GPT2Tokenizer(), ["<|padding|>", *special])
    backend = Tokenizer(BPE(vocab=vocab, merges=merges))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    backend.add_tokens([AddedToken("  ", normalized=True), AddedToken("|||IP_ADDRESS|||", normalized=True)])
    backend.add_special_tokens([*special[:-1], AddedToken("[MASK]", lstrip=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        clean_up_tokenization_spaces=True,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=8192,
    )


def xlm_roberta() -> Any:
    vocab = unigram_vocab(XLMRobertaTokenizer(), ROBERTA_SPECIAL, "<unk>", last="<mask>")
    mask = AddedToken("<mask>", lstrip=True, special=True, normalized=False)
    return XLMRobertaTokenizer(vocab=vocab, mask_token=mask, model_max_length=512)


def albert() -> Any:
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    return AlbertTokenizer(vocab=unigram_vocab(AlbertTokenizer(), special, "<unk>"), model_max_length=512)


def deberta_v2() -> Any:
    vocab = unigram_vocab(DebertaV2Tokenizer(), ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[UNK]", last="[MASK]")
    return DebertaV2Tokenizer(vocab=vocab, split_by_punct=True, model_max_length=512)


def llama() -> Any:
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, limit_alphabet=120, max_token_length=12, show_progress=False
    )
    backend = Tokenizer(BPE())
    # The tokenizer itself does not split at blanks; its training has to, or whole lines become tokens.
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    backend.train_from_iterator(CORPUS, trainer)
    trained, merges = bpe_parts(backend)
    pieces = [token for token in sorted(trained, key=trained.__getitem__) if token not in special]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocab = {token: index for index, token in enumerate(tokens)}
    return LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)


def t5() -> Any:
    vocab = unigram_vocab(T5Tokenizer(), ["<pad>", "</s>", "<unk>"], "<unk>")
    vocab += [(f"<extra_id_{index}>", 0.0) for index in reversed(range(4))]
    return T5Tokenizer(vocab=vocab, extra_ids=4, model_max_length=512)


def mbart() -> Any:
    # The languages' tokens come behind the vocabulary, as in the checkpoints.
    vocab = unigram_vocab(MBartTokenizer(), ROBERTA_SPECIAL, "<unk>")
    return MBartTokenizer(vocab=vocab, model_max_length=512, src_lang="en_XX")


def nllb() -> Any:
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=ROBERTA_SPECIAL, limit_alphabet=330, show_progress=False
    )
    vocab, merges = bpe_parts(train(NllbTokenizer(), BPE(unk_token="<unk>", fuse_unk=True), trainer))
    languages = ["deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans"]
    return NllbTokenizer(
        vocab=vocab, merges=merges, extra_special_tokens=languages, src_lang="eng_Latn", model_max_length=512
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "albert": albert,
    "bert": bert,
    "deberta-v2": deberta_v2,
    "distilbert": distilbert,
    "electra": electra,
    "gpt2": gpt2,
    "llama": llama,
    "mbart": mbart,
    "modernbert": modernbert,
    "mpnet": mpnet,
    "nllb": nllb,
    "roberta": roberta,
    "t5": t5,
    "xlm-roberta": xlm_roberta,
}


def rename_extra_tokens(path: Path) -> None:
    """Give the list of special tokens without a name the name that transformers 4 reads too."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(extra := config.pop("extra_special_tokens", None), list):
        config["additional_special_tokens"] = extra
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    for name in sys.argv[1:] or FAMILIES:
        make = FAMILIES[name]
        directory = HERE / "tokenizers" / name
        shutil.rmtree(directory, ignore_errors=True)
        tokenizer = make()
        tokenizer.save_pretrained(directory)
        rename_extra_tokens(directory / "tokenizer_config.json")
        size = sum(file.stat().st_size for file in directory.iterdir())
        sample = tokenizer.tokenize("Hello, wörld! 你好 😀")
        print(f"{name:12} {len(tokenizer):5} tokens {size / 1024:6.1f} KiB  {sample}")


if __name__ == "__main__":
    main()
