"""``python -m tests.soak``: all kinds of soak, or some of them, with a seed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.calls import make_calls, open_pipelines, write_bundles
from tests.soak.kinds import Soak, finish, run_loads, run_requests, run_threads

# Calls, or loads, of each kind by default: about a minute together.
COUNTS = {"threads": 40_000, "requests": 40_000, "loads": 600}


def main() -> int:
    """Run them; the exit status says whether anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=sorted(COUNTS), help="a kind; by default all")
    parser.add_argument("--times", type=float, default=1, help="how many times as many calls as by default")
    parser.add_argument("--calls", type=int, help="so many calls of each kind")
    parser.add_argument("--threads", type=int, default=4)
    asked = parser.parse_args()
    command = f"python -m tests.soak --seed {asked.seed} --threads {asked.threads}"
    print(command, flush=True)
    bad = False
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        bundles = write_bundles(Path(name))
        pipelines = open_pipelines(bundles)
        calls = make_calls(pipelines, asked.seed)
        for kind, count in COUNTS.items():
            if asked.only and kind not in asked.only:
                continue
            soak = Soak(kind, asked.calls or round(count * asked.times), asked.seed)
            run = {
                "threads": lambda soak=soak: run_threads(soak, pipelines, calls, asked.threads),
                "requests": lambda soak=soak: run_requests(soak, pipelines, calls),
                "loads": lambda soak=soak: run_loads(soak, bundles, calls),
            }[kind]
            stopped = finish(soak, run)
            soak.report(f"{command} --calls {soak.wanted}")
            bad |= bool(soak.wrong) or stopped
            if stopped:
                break
    return bad


if __name__ == "__main__":
    sys.exit(main())
