"""Reading a tokenizer's directory: what the files may leave out, what older versions wrote, what is damaged."""

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from edgepipe.errors import BundleError, InputError
from edgepipe.tokenization.tokenizer import Tokenizer

TEXT = "Hello, wörld! [MASK] <extra> <named>"


@pytest.fixture
def directory(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data / "bert", tmp_path / "bert"))


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content.update(changes)
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}), encoding="utf-8")


def plain_reference(directory: Path) -> Any:
    """The reference without a class of its own, which reads the files and rebuilds nothing."""
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast.from_pretrained(directory)


def check_same(directory: Path) -> Tokenizer:
    reference = plain_reference(directory)
    ours = Tokenizer.from_pretrained(directory)
    assert ours.special_tokens_map == reference.special_tokens_map
    assert ours.all_special_tokens == reference.all_special_tokens
    assert ours.all_special_ids == reference.all_special_ids
    assert ours.padding_side == reference.padding_side
    assert ours.truncation_side == reference.truncation_side
    assert ours.model_input_names == reference.model_input_names
    assert ours.get_vocab() == reference.get_vocab()
    for options in ({}, {"max_length": 6}):
        assert dict(ours(TEXT, **options)) == dict(reference(TEXT, **options))
    ids = ours(TEXT)["input_ids"]
    assert ours.decode(ids, True) == reference.decode(ids, skip_special_tokens=True)
    return ours


def test_explicit_settings_replace_those_of_the_class(directory: Path) -> None:
    """What an exporter writes beside save_pretrained's own entries is all that counts."""
    assert "token_type_ids" in Tokenizer.from_pretrained(directory)("a")
    edit(directory / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"], padding_side="left")
    tokenizer = Tokenizer.from_pretrained(directory)
    assert list(tokenizer("a")) == ["input_ids", "attention_mask"]
    assert tokenizer.padding_side == "left"


def test_no_config_at_all(directory: Path) -> None:
    (directory / "tokenizer_config.json").unlink()
    tokenizer = Tokenizer.from_pretrained(str(directory))
    assert tokenizer("hello").keys() == {"input_ids", "attention_mask"}
    assert tokenizer.pad_token is None
    assert tokenizer.model_max_length is None


def test_state_left_in_tokenizer_json(directory: Path) -> None:
    """Truncation and padding that someone saved are no settings of a call, but they name the sides and the token."""
    edit(directory / "tokenizer_config.json", tokenizer_class=..., pad_token=..., model_max_length=...)
    edit(
        directory / "tokenizer.json",
        truncation={"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 9},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
    )
    tokenizer = check_same(directory)
    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("left", "left")
    assert len(tokenizer("hello world hello world")["input_ids"]) > 4


def test_tokens_only_the_config_knows(directory: Path) -> None:
    edit(
        directory / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        eos_token="<eos>",
        image_token="<named>",
        extra_special_tokens=["<extra>"],
    )
    tokenizer = check_same(directory)
    assert tokenizer.eos_token_id == tokenizer.vocab_size + 0
    assert "<named>" in tokenizer.all_special_tokens


def test_named_extra_tokens(directory: Path) -> None:
    edit(
        directory / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        extra_special_tokens={"named_token": "<named>"},
    )
    check_same(directory)


def test_what_transformers_4_wrote(directory: Path) -> None:
    added = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    decoder = {str(token.pop("id")): token for token in added}
    decoder["4"] = {**decoder["4"], "lstrip": True}
    decoder["900"] = {"content": "<named>", "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    edit(
        directory / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        added_tokens_decoder=decoder,
        additional_special_tokens=["<extra>"],
    )
    check_same(directory)


def test_special_tokens_map(directory: Path) -> None:
    edit(directory / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", mask_token=...)
    mask = {"content": "[MASK]", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
    edit(directory / "special_tokens_map.json", mask_token=mask, bos_token="[CLS]")
    tokenizer = check_same(directory)
    assert tokenizer.bos_token_id == tokenizer.cls_token_id


def test_split_special_tokens(directory: Path) -> None:
    edit(directory / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", split_special_tokens=True)
    tokenizer = check_same(directory)
    assert tokenizer.mask_token_id not in tokenizer("[MASK]")["input_ids"]
    assert tokenizer.mask_token_id not in tokenizer("[MASK]", max_length=9)["input_ids"]


def test_overrides(data: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(
        data / "gpt2", pad_token="<|endoftext|>", padding_side="right", truncation_side="left", model_max_length=3
    )
    ids = tokenizer(["a b", "a b c d e"], padding=True, truncation=True)["input_ids"]
    full = tokenizer("a b c d e")["input_ids"]
    assert ids[1] == full[-3:]
    assert ids[0][-1] == tokenizer.eos_token_id == tokenizer.pad_token_id
    added = Tokenizer.from_pretrained(data / "gpt2", pad_token="<pad>")
    assert added.pad_token_id == len(tokenizer)


@pytest.mark.parametrize(
    "wrong", [{"padding_side": "up"}, {"truncation_side": 1}, {"model_max_length": 0}, {"pad_token": 3}]
)
def test_wrong_overrides(data: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Tokenizer.from_pretrained(data / "bert", **wrong)


def test_nothing_there(tmp_path: Path) -> None:
    for path, message in ((tmp_path, r"has no tokenizer\.json"), (tmp_path / "nowhere", "is not a directory")):
        with pytest.raises(BundleError, match=message):
            Tokenizer.from_pretrained(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe{}", b'{"version": "9.0"}', b'{"model": {"type": "X"}}']
)
def test_damaged_tokenizer_json(directory: Path, content: bytes) -> None:
    (directory / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer.from_pretrained(directory)


def test_a_large_vocabulary_is_not_held_as_a_text(directory: Path) -> None:
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    first = len(content["model"]["vocab"])
    content["model"]["vocab"] |= {f"word{index}\U0001f642": first + index for index in range(20_000)}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    Tokenizer.from_pretrained(directory)  # imports, caches
    tracemalloc.start()
    tokenizer = Tokenizer.from_pretrained(directory)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tokenizer) > 20_000
    assert peak < 2 * path.stat().st_size, "four bytes a character, and two copies"


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"null"])
def test_damaged_config(directory: Path, content: bytes) -> None:
    (directory / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"tokenizer_config\.json"):
        Tokenizer.from_pretrained(directory)


@pytest.mark.parametrize(
    "changes",
    [
        {"padding_side": "middle"},
        {"model_max_length": "long"},
        {"model_max_length": -1},
        {"extra_special_tokens": [1]},
        {"extra_special_tokens": 7},
        {"model_input_names": 3},
        {"added_tokens_decoder": {"x": {}}},
        {"added_tokens_decoder": ["[MASK]"]},
        {"pad_token": {"lstrip": True}},
    ],
)
def test_wrong_settings(directory: Path, changes: dict[str, Any]) -> None:
    edit(directory / "tokenizer_config.json", **changes)
    with pytest.raises(BundleError, match=r"tokenizer_config\.json"):
        Tokenizer.from_pretrained(directory)


def test_template_with_an_undefined_token(directory: Path) -> None:
    """The Rust code would panic at the first text."""
    content = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    del content["post_processor"]["special_tokens"]["[SEP]"]
    edit(directory / "tokenizer.json", **content)
    with pytest.raises(BundleError, match=r"\[SEP\]"):
        Tokenizer.from_pretrained(directory)


PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
PREFIXED_BPE = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": "abcdef",
    "end_of_word_suffix": None,
    "fuse_unk": True,
    "byte_fallback": True,
    "ignore_merges": False,
    "vocab": {"a": 0, "b": 1, "ab": 2},
    "merges": [["a", "b"]],
}


@pytest.mark.parametrize("entry", [{"normalizer": PRECOMPILED}, {"model": PREFIXED_BPE}], ids=["normalizer", "model"])
def test_a_file_that_panics_when_it_is_loaded(directory: Path, entry: dict[str, Any]) -> None:
    edit(directory / "tokenizer.json", **entry)
    with pytest.raises(BundleError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        Tokenizer.from_pretrained(directory)


def test_a_file_that_panics_at_a_call(directory: Path) -> None:
    edit(directory / "tokenizer.json", pre_tokenizer={"type": "FixedLength", "length": 0})
    tokenizer = Tokenizer.from_pretrained(directory)
    for texts in ("a text", ["two", "texts"]):
        with pytest.raises(BundleError, match=r"the tokenizer has the library that reads it fail \(chunk size"):
            tokenizer(texts)


def test_a_file_of_a_gigabyte(directory: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        kept = (directory / name).read_bytes()
        with (directory / name).open("ab") as file:
            file.truncate(1_000_000_000)  # it takes no room on the disk
        with pytest.raises(BundleError, match=rf"{name} cannot be read: it has 1,000,000,000 bytes, and no such file"):
            Tokenizer.from_pretrained(directory)
        (directory / name).write_bytes(kept)


def test_json_that_is_too_deep(directory: Path) -> None:
    (directory / "tokenizer_config.json").write_text('{"a":' * 100_000)
    with pytest.raises(BundleError, match="within each other too often"):
        Tokenizer.from_pretrained(directory)
