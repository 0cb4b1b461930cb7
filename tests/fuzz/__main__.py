"""Run campaigns: ``python -m tests.fuzz [CAMPAIGN ...]``; see :mod:`tests.fuzz`.

    python -m tests.fuzz                                 # all, a minute or so
    python -m tests.fuzz --times 100                     # a hundred times as many cases
    python -m tests.fuzz tokenizers --count 200000 --workers 2
    python -m tests.fuzz --again build/fuzz/FILE.json    # a case that failed

The exit status is 1 where there is a fault, and 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from tests.fuzz.campaign import FAULTS, MEANINGS
from tests.fuzz.run import CampaignRun, say
from tests.fuzz.worker import CAMPAIGNS, load_campaign, run_case

SEED = 17
FOLDER = Path("build") / "fuzz"
PACKAGES = ("edgepipe", "onnxruntime", "tokenizers", "numpy", "transformers", "torch")


def main(arguments: list[str]) -> int:
    """Run what is asked for; the exit status."""
    options = _parse(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if options.again:
        return repeat(options.again)
    say(f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}")
    tallies = []
    for name in options.campaigns or CAMPAIGNS:
        count = options.count or load_campaign(name, 0).count * options.times
        say(f"{name}: {count:,} cases from number {options.first:,}, seed {options.seed}, {options.workers} processes")
        run = CampaignRun(
            name, options.seed, count, first=options.first, workers=options.workers, folder=options.folder,
            out=sys.stdout,
        )  # fmt: skip
        tallies.append(run.run())
        say(tallies[-1].describe())
        if tallies[-1].stopped:
            break
    kinds = [kind for kind in MEANINGS if kind in FAULTS or any(tally.sizes.get(kind) for tally in tallies)]
    say("\n" + "\n".join(f"{kind:10} {MEANINGS[kind]}" for kind in kinds) + "\n")
    for tally in tallies:
        say(("stopped: " if tally.stopped else "") + tally.describe())
    if any(tally.stopped for tally in tallies):
        return 130
    return 1 if any(tally.faults for tally in tallies) else 0


def repeat(path: Path) -> int:
    """Run the case of a file again, in this process; the exit status."""
    known = json.loads(path.read_text(encoding="utf-8"))
    campaign = load_campaign(known["campaign"], known["seed"])
    made = repr(campaign.make(known["index"]))[:20_000]
    if made != known["input"]:
        say("The generators have changed since: this is another case.")
    say(f"{made[:2000]!a}")
    outcome = run_case(campaign, known["index"])
    say(f"{outcome.kind}: {outcome.got!a}")
    return 1 if outcome.kind in FAULTS else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"{', '.join(CAMPAIGNS)}; all by default")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--times", type=int, default=1, help="how many times as many cases as by default")
    parser.add_argument("--count", type=int, help="how many cases of each campaign")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where files about faults go")
    parser.add_argument("--again", type=Path, metavar="FILE", help="run the case of such a file again")
    options = parser.parse_args(arguments)
    if unknown := set(options.campaigns) - set(CAMPAIGNS):
        parser.error(f"no campaign {', '.join(sorted(unknown))}; there are {', '.join(CAMPAIGNS)}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
