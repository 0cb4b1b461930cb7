"""Makes requests inside of the emulator: ``-m tests.emulation.instructions.count_requests KIND FOLDER DTYPE...``.

Before and behind them it makes a system call that has :data:`MARK` as its argument. ``count.c`` writes the count then.
So neither the start nor the load nor the first request is counted. It writes ``FOLDER DTYPE REQUESTS`` a variant.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Any

from edgepipe import pipeline

# count.c has the same.
MARK = 1162167621

# What is counted: requests of an encoder, tokens behind the first of the others.
REQUESTS = {"encoder": 2, "decoder": 4, "encoder-decoder": 4}
# Tokens of a text, special ones included; the text has more, and is cut.
LENGTH = 32
TEXT = "the service was slow and the food was cold " * 20
PROMPT = "the service was slow and the food was cold"


def mark() -> None:
    """Have the count written; there is no such process group, so nothing else happens."""
    with suppress(ProcessLookupError):
        os.getpgid(MARK)


def write_tokens(task: Any, count: int) -> None:
    """Write so many tokens."""
    task(PROMPT, max_new_tokens=count, min_new_tokens=count, do_sample=False)


def make_requests(kind: str, folder: str, dtype: str) -> None:
    """One of each before the marks, then those that are counted: two marks, or four (see :func:`read_counts`)."""
    count = REQUESTS[kind]
    with pipeline(model=folder, dtype=dtype, verify="never", num_threads=1) as task:
        if kind == "encoder":
            task(TEXT, truncation=True, max_length=LENGTH)
            mark()
            for _ in range(count):
                task(TEXT, truncation=True, max_length=LENGTH)
            mark()
        else:
            write_tokens(task, 1 + count)
            write_tokens(task, 1)
            for tokens in (1, 1 + count):
                mark()
                write_tokens(task, tokens)
                mark()


def read_counts(kind: str, marks: list[int]) -> list[int]:
    """The instructions of a request, or of a token, of each variant.

    Args:
        kind: A name of :data:`REQUESTS`.
        marks: The counts so far at the marks, in order.
    """
    spans = [after - before for before, after in zip(marks[::2], marks[1::2], strict=True)]
    if kind != "encoder":
        spans = [longer - shorter for shorter, longer in zip(spans[::2], spans[1::2], strict=True)]
    return [span // REQUESTS[kind] for span in spans]


def main() -> None:
    """Make the requests of each variant."""
    kind, *rest = sys.argv[1:]
    gc.disable()
    for folder, dtype in zip(rest[::2], rest[1::2], strict=True):
        make_requests(kind, folder, dtype)
        print(folder, dtype, flush=True)


if __name__ == "__main__":
    main()
