"""One tokenizer, many threads, each with settings of its own: the results of one thread alone."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgepipe.tokenization.tokenizer import Tokenizer

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
