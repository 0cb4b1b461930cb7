"""Checks bundles with their probes, inside of the emulator: ``python -m tests.emulation.check_bundles FOLDER...``.

It writes a line of JSON a bundle, as ``edgepipe check --json`` does.
"""

from __future__ import annotations

import sys

from edgepipe import check
from edgepipe.errors import EdgepipeError


def main() -> None:
    """Check each folder."""
    for folder in sys.argv[1:]:
        try:
            print(check(folder, num_threads=1).to_json().replace("\n", " "), flush=True)
        except EdgepipeError as error:
            print("{}", flush=True)
            print(f"{folder}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
