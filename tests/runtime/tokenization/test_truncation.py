"""Tokenizers that cut, beside the one they are made from."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from edgepipe.errors import DependencyError, InputError
from edgepipe.tokenization.tokenizer import Tokenizer
from edgepipe.tokenization.truncation import (
    FAULTY_RELEASES,
    Truncators,
    _cut_lengths,
    is_long_pair,
    is_pair,
    require_faultless_release,
    share_model,
)
from tests.conftest import REPOSITORY


def test_releases_that_cut_wrongly_are_refused_here_and_by_pip() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [requirement] = [entry for entry in project["dependencies"] if entry.startswith("tokenizers")]
    assert re.findall(r"!=([\d.]+)", requirement) == list(FAULTY_RELEASES)
    for release in FAULTY_RELEASES:
        with pytest.raises(DependencyError, match=rf"tokenizers {release} cuts long texts wrongly; pip install"):
            require_faultless_release(release)
    require_faultless_release("0.22.0")


def test_the_installed_release_gives_every_window() -> None:
    """What the refused ones do not: they give two windows of these."""
    require_faultless_release()
    words = RustTokenizer(WordLevel({str(number): number for number in range(50)}, unk_token="0"))
    words.pre_tokenizer = WhitespaceSplit()
    words.enable_truncation(20, stride=5)
    found = words.encode(" ".join(map(str, range(50))))
    windows = [found.ids, *(window.ids for window in found.overflowing)]
    assert windows == [list(range(0, 20)), list(range(15, 35)), list(range(30, 50))]


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


@pytest.mark.parametrize(
    ("item", "is_pretokenized", "expected"),
    [
        ("ab", False, False),
        (("a", "b"), False, True),
        (["a", "b"], True, False),
        ([["a"], ["b"]], True, True),
        ([], True, False),
        ([["a"]], True, False),
    ],
)
def test_a_pair_is_told_from_two_words(item: Any, is_pretokenized: bool, expected: bool) -> None:
    assert is_pair(item, is_pretokenized) is expected


lengths = st.integers(1, 9)


@given(st.sampled_from(["longest_first", "only_first", "only_second"]), lengths, lengths, lengths)
def test_pairs_are_cut_to_the_lengths_that_are_foretold(strategy: str, first: int, second: int, room: int) -> None:
    base = RustTokenizer(WordLevel({"a": 0}, unk_token="a"))
    base.pre_tokenizer = WhitespaceSplit()
    cut = Truncators(base, "right").get(strategy, room, 0)
    texts = " ".join("a" * first), " ".join("a" * second)
    foretold = _cut_lengths(strategy, [first, second], room)
    if strategy != "longest_first" and any(length <= 0 for length in foretold):
        with pytest.raises(Exception, match="too short"):
            cut.encode(*texts)
        return
    found = [cut.encode(*texts).sequence_ids.count(text) for text in (0, 1)]
    changed = [kept for kept, size in zip(found, (first, second), strict=True) if kept < size]
    assert sorted(foretold) == sorted(changed)


def test_a_text_alone_is_cut_to_all_the_room() -> None:
    for strategy in ("longest_first", "only_first", "only_second"):
        assert _cut_lengths(strategy, [5], 5) == []
        assert _cut_lengths(strategy, [6], 5) == [5]


def test_the_room_that_special_tokens_leave(data: Path) -> None:
    truncators = Truncators(RustTokenizer.from_file(str(data / "bert" / "tokenizer.json")), "right")

    def check(item: Any, max_length: int, stride: int = 0, *, special: bool = True) -> None:
        truncators.check_room(
            [item],
            strategy="longest_first",
            max_length=max_length,
            stride=stride,
            add_special_tokens=special,
            is_pretokenized=False,
        )

    check("a", 2)
    check(("a", "b"), 3)
    check("a", 0, special=False)
    with pytest.raises(InputError, match="max_length=1 is too small: the special tokens alone take 2; pass at least 3"):
        check("a", 1)
    with pytest.raises(InputError, match="the special tokens alone take 3"):
        check(("a", "b"), 2)
    check("a b c d e f", 6, 3)
    check(("a b c", "d e f"), 9, 5)  # nothing is cut
    with pytest.raises(InputError, match=r"stride=2 is too large for max_length=7: .* \(3 and 3 tokens\) holds 2;"):
        check(("a b c", "d e f"), 7, 2)
    with pytest.raises(InputError, match="holds 2"):
        check(("a b c d e", "a b c d e"), 8, 2)  # five tokens of room are two and three


LONG = ("The quick brown fox don't [MASK] e\u0301 你好 😀  jumps ", " over the <mask> lazy dog, Zoë! ")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("special", [True, False])
def test_a_pair_is_cut_as_the_library_cuts_it(data: Path, family: str, side: str, special: bool) -> None:
    """Whichever text is longer, and in which one nothing is left, as words too."""
    base = Tokenizer.from_pretrained(data / family)._backend
    truncators = Truncators(base, side)
    for first, second in ((3, 1), (1, 4), (5, 5), (0, 3)):
        pair = (LONG[0] * first, LONG[1] * second)
        for words in (False, True):
            given = tuple(text.split() for text in pair) if words else pair
            for length in (5, 30, 61):
                expected = truncators.get("longest_first", length, 0).encode(
                    *given, is_pretokenized=words, add_special_tokens=special
                )
                got = truncators.cut_pair(given, length, add_special_tokens=special, is_pretokenized=words)
                for name in ("ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask",
                             "word_ids", "sequence_ids"):  # fmt: skip
                    assert getattr(got, name) == getattr(expected, name), (given, length, name)
                assert bool(got.overflowing) == bool(expected.overflowing), (given, length)


def test_what_is_cut_off_a_long_pair_takes_no_memory(bert: Tokenizer) -> None:
    """The library would make 1,000 rows of each of the 1,000 pieces of the other text."""
    pair = ("good film " * 10_000, "bad music " * 10_000)
    assert is_long_pair(pair, 16, False)
    assert is_long_pair(tuple(text.split() for text in pair), 16, True)
    encoded = bert(*pair, truncation=True, max_length=16, padding="max_length")
    assert encoded.is_cut
    assert len(encoded["input_ids"]) == 16
    assert len(encoded.encodings[0].overflowing) < 4
    both = bert([pair, ("good film", "bad"), pair], truncation=True, max_length=16, padding=True, return_tensors="np")
    assert both["input_ids"][0].tolist() == both["input_ids"][2].tolist() == encoded["input_ids"]
    assert both["attention_mask"][1].sum() == len(bert("good film", "bad")["input_ids"])


def test_half_a_character_in_a_long_pair_is_an_input_error(bert: Tokenizer) -> None:
    with pytest.raises(InputError, match="text 1 of the batch holds a lone surrogate"):
        bert([("a", "b"), ("good " * 1000, "\ud800" * 1000)], truncation=True, max_length=16)
