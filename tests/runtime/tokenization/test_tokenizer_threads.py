"""One tokenizer, many threads, each with settings of its own: the results of one thread alone."""

import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from edgepipe.tokenization.tokenizer import Tokenizer
from edgepipe.tokenization.truncation import Truncators, share_model

TEXTS = ["the quick brown fox jumps over the lazy dog " * n for n in (1, 2, 5)]


def settings() -> list[dict[str, Any]]:
    """More of them than are kept, so that some are made again and again."""
    return [
        {
            "truncation": truncation,
            "max_length": max_length,
            "stride": stride,
            "padding": padding,
            "padding_side": side,
            "return_overflowing_tokens": True,
            "return_offsets_mapping": True,
        }
        for truncation, max_length, stride, (padding, side) in itertools.product(
            [False, True, "only_first"], [12, 17, 30], [0, 2], [(False, None), ("max_length", "left"), (True, "right")]
        )
    ]


@pytest.mark.filterwarnings("ignore:max_length has no effect")
def test_threads_do_not_meet(ours: Tokenizer, data: Path, family: str) -> None:
    if ours.pad_token is None:
        ours = Tokenizer.from_pretrained(data / family, pad_token=ours.eos_token)
    work = [(text, options) for options in settings() for text in (*TEXTS, TEXTS)]
    expected = [dict(ours(text, **options)) for text, options in work]
    fresh = Tokenizer.from_pretrained(data / family, pad_token=ours.pad_token)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            actual = list(pool.map(lambda item: dict(fresh(item[0], **item[1])), work))
    finally:
        sys.setswitchinterval(interval)
    assert actual == expected


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
