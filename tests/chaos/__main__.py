"""``python -m tests.chaos``: all attacks, or some of them, with a seed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.chaos import clocks, disks, kills, threads
from tests.chaos.exporters import Exporter
from tests.chaos.run import Outcome, report

# Cases of each attack by default, all together for about a minute.
COUNTS = {"kills": 60, "disks": 80, "clocks": 40, "threads": 5}
_ATTACKS = {"kills": kills.run, "disks": disks.run, "clocks": clocks.run, "threads": threads.run}


def main() -> int:
    """Run them; the exit status says whether anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=sorted(COUNTS), help="an attack; by default all")
    parser.add_argument("--times", type=float, default=1, help="how many times as many cases as by default")
    parser.add_argument("--cases", type=int, help="so many cases of each attack")
    parser.add_argument("--case", type=int, help="this case alone")
    parser.add_argument("--export", choices=("light", "torch"), default="light", help="see tests/chaos/exporters.py")
    asked = parser.parse_args()
    command = f"python -m tests.chaos --seed {asked.seed} --export {asked.export}"
    print(command, flush=True)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        exporter = Exporter(asked.export, folder)
        for attack, count in COUNTS.items():
            if asked.only and attack not in asked.only:
                continue
            wanted = asked.cases or round(count * asked.times)
            cases = range(wanted) if asked.case is None else [asked.case]
            (folder / attack).mkdir()
            outcomes.append(_ATTACKS[attack](exporter, folder / attack, asked.seed, cases))
            report(outcomes[-1], command)
            if outcomes[-1].stopped:
                break
        exporter.close()
    return any(outcome.wrong for outcome in outcomes) or any(outcome.stopped for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
