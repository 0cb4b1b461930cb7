"""Tokenizers that cut, beside the one they are made from."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from edgepipe.errors import InputError
from edgepipe.tokenization.tokenizer import Tokenizer
from edgepipe.tokenization.truncation import Truncators, share_model


def test_truncating_twins_are_the_base_in_all_but_truncation(data: Path, family: str) -> None:
    base = RustTokenizer.from_file(str(data / family / "tokenizer.json"))
    twin = share_model(base)
    assert json.loads(twin.to_str()) == json.loads(base.to_str())
    truncator = Truncators(base, "left").get("only_first", 9, 1)
    assert truncator.truncation == {"max_length": 9, "stride": 1, "strategy": "only_first", "direction": "left"}
    assert base.truncation is None


def test_twins_share_the_model(data: Path) -> None:
    base = RustTokenizer.from_file(str(data / "gpt2" / "tokenizer.json"))
    twin = share_model(base)
    base.model.dropout = 0.25  # seen by the twin only if there is one model
    assert twin.model.dropout == pytest.approx(0.25)


def test_added_tokens_with_gaps_are_kept(data: Path) -> None:
    """Ids that adding tokens in turn does not give."""
    content = json.loads((data / "bert" / "tokenizer.json").read_text(encoding="utf-8"))
    token = dict(content["added_tokens"][-1], content="<late>", id=2000)
    content["added_tokens"].append(token)
    base = RustTokenizer.from_str(json.dumps(content))
    assert share_model(base).encode("a <late>").ids == base.encode("a <late>").ids


def test_the_least_recently_used_goes(data: Path) -> None:
    base = RustTokenizer.from_file(str(data / "bert" / "tokenizer.json"))
    base.add_tokens([AddedToken("<new>", special=True)])
    truncators = Truncators(base, "right")
    first = truncators.get("longest_first", 10, 0)
    for max_length in range(11, 25):
        truncators.get("longest_first", max_length, 0)
    assert truncators.get("longest_first", 10, 0) is first
    for max_length in range(25, 41):
        truncators.get("longest_first", max_length, 0)
    assert truncators.get("longest_first", 10, 0) is not first


def test_stride_of_pairs(bert: Tokenizer, capfd: pytest.CaptureFixture[str]) -> None:
    """Where the reference lets the Rust code panic."""
    for options in (
        {"truncation": "only_second", "max_length": 12, "stride": 5},
        {"truncation": True, "max_length": 7, "stride": 2},
        {"truncation": True, "max_length": 1, "stride": 1, "add_special_tokens": False},
    ):
        with pytest.raises(InputError, match="stride="):
            bert("a b c d", "the quick brown fox jumps over the lazy dog", **options)
    assert "panicked" not in capfd.readouterr().err


def test_text_to_cut_is_too_short(bert: Tokenizer) -> None:
    with pytest.raises(InputError, match="longest_first"):
        bert("a", "the quick brown fox jumps over", truncation="only_first", max_length=6)
