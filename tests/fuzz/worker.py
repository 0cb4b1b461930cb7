"""The process that runs cases: it may hang or end, and whoever watches it knows at which case."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from multiprocessing import RawArray, RawValue
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import FAULTS, KINDS, Campaign, Outcome, describe_error

CAMPAIGNS = {
    "tokenizers": ("tests.fuzz.tokenizer_campaign", "TokenizerCampaign"),
    "calls": ("tests.fuzz.call_campaign", "CallCampaign"),
    "bundles": ("tests.fuzz.bundle_campaign", "BundleCampaign"),
    "exports": ("tests.fuzz.bundle_campaign", "ExportCampaign"),
}


def load_campaign(name: str, seed: int) -> Campaign:
    """A campaign by its name, or as ``module:class``."""
    module, attribute = CAMPAIGNS.get(name) or name.split(":")
    made: Campaign = getattr(import_module(module), attribute)(seed)
    return made


class Progress:
    """What a worker has done, in memory that outlives it.

    Attributes:
        at: The case that it is at; -1 while it makes what the campaign needs.
        since: When it came to it, in seconds of the monotonic clock.
        sizes: Texts, calls or bundles by kind, in the order of KINDS.
    """

    def __init__(self) -> None:
        self.at, self.since = RawValue("q", -1), RawValue("d", time.monotonic())
        self.sizes: Any = RawArray("q", len(KINDS))

    def begin(self, index: int) -> None:
        """Go to a case."""
        self.since.value = time.monotonic()
        self.at.value = index

    def count(self, outcome: Outcome) -> None:
        """Count a case."""
        self.sizes[KINDS.index(outcome.kind)] += outcome.size


def run_case(campaign: Campaign, index: int) -> Outcome:
    """Make a case and run it; an exception of ours or from below is raw."""
    try:
        return campaign.run(campaign.make(index))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - Rust's panics are no Exception
        return Outcome("raw", describe_error(error))


def work(name: str, seed: int, indices: Sequence[int], progress: Progress, reports: Connection) -> None:
    """Run cases one after another; faults go through `reports` as (index, kind, what came back)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it stops it
    _be_quiet()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    campaign = load_campaign(name, seed)
    campaign.prepare()
    _limit_addresses(campaign.addresses)
    for index in indices:
        progress.begin(index)
        outcome = run_case(campaign, index)
        progress.count(outcome)
        if outcome.kind in FAULTS:
            reports.send((index, outcome.kind, outcome.got))
    reports.send(None)


def _be_quiet() -> None:
    """Panics, warnings and logs of what fails on purpose are nobody's news."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0", "HF_HUB_OFFLINE": "1"}
    os.environ["OMP_NUM_THREADS"] = "1"
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process


def _limit_addresses(more: int) -> None:
    """Let the process have so many bytes of addresses more than it has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
