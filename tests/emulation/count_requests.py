"""Answers so many requests, inside of the emulator: ``python -m tests.emulation.count_requests BUNDLE DTYPE COUNT``.

Whoever counts instructions runs it with two counts, and takes the difference.
"""

from __future__ import annotations

import sys

from edgepipe import pipeline

TEXT = "The delivery was late again, but the people on the phone were kind."


def main() -> None:
    """Load the bundle, and ask."""
    folder, dtype, count = sys.argv[1:]
    ask = pipeline(model=folder, dtype=dtype, num_threads=1, verify="never")
    for _ in range(int(count)):
        ask(TEXT)


if __name__ == "__main__":
    main()
