"""Runs of campaigns: workers that are watched, counts as they come, and a file for each fault."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

from tests.fuzz.campaign import FAULTS, KINDS, Campaign
from tests.fuzz.worker import Progress, load_campaign, work

# Beyond so many faults, only the counts go on.
MOST_FILES = 200
_START_SECONDS = 1800.0
_EVERY_SECONDS = 10.0


@dataclass
class Tally:
    """The counts of a run.

    Attributes:
        campaign: Its name.
        unit: What is counted.
        seed: Of all cases.
        first: The first case.
        cases: How many were asked for.
        sizes: By kind.
        files: One for each fault.
        stopped: Whether it was interrupted.
    """

    campaign: str
    unit: str
    seed: int
    first: int
    cases: int
    sizes: dict[str, int] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    stopped: bool = False

    @property
    def total(self) -> int:
        """Texts, calls or bundles of all kinds."""
        return sum(self.sizes.values())

    @property
    def faults(self) -> int:
        """Those that are faults."""
        return sum(self.sizes.get(kind, 0) for kind in FAULTS)

    def describe(self) -> str:
        """The counts in a line."""
        counts = [f"{self.sizes.get(kind, 0):,} {kind}" for kind in KINDS if kind in FAULTS or self.sizes.get(kind)]
        return f"{self.campaign}, seed {self.seed}: {self.total:,} {self.unit}: {', '.join(counts)}"


@dataclass
class _Lane:
    """Every n-th case, run by one worker after another."""

    indices: range
    progress: Progress
    process: Any = None
    reports: Connection | None = None
    done: bool = False


class CampaignRun:
    """A run of one campaign."""

    def __init__(
        self, name: str, seed: int, count: int, *, first: int = 0, workers: int = 1, folder: Path, out: TextIO
    ) -> None:
        self._campaign: Campaign = load_campaign(name, seed)
        self.tally = Tally(name, self._campaign.unit, seed, first, count)
        self._folder, self._out = folder, out
        stop = first + count
        self._lanes = [_Lane(range(first + lane, stop, workers), Progress()) for lane in range(min(workers, count))]
        self._context = multiprocessing.get_context("spawn")
        self._extra = dict.fromkeys(KINDS, 0)
        self._begun = self._told = time.monotonic()

    def run(self) -> Tally:
        """Run all cases; an interrupt ends it with the counts so far."""
        try:
            for lane in self._lanes:
                self._start(lane)
            while not all(lane.done for lane in self._lanes):
                for lane in self._lanes:
                    self._look_at(lane)
                self._count()
                self._tell()
        except KeyboardInterrupt:
            self.tally.stopped = True
        finally:
            for lane in self._lanes:
                if lane.process is not None and lane.process.is_alive():
                    lane.process.kill()
                    lane.process.join()
            self._count()
        return self.tally

    def _start(self, lane: _Lane) -> None:
        if not lane.indices:
            lane.done = True
            return
        lane.progress.at.value = -1
        lane.progress.since.value = time.monotonic()
        lane.reports, theirs = self._context.Pipe(duplex=False)
        arguments = (self.tally.campaign, self.tally.seed, lane.indices, lane.progress, theirs)
        lane.process = self._context.Process(target=work, args=arguments, daemon=True)
        lane.process.start()
        theirs.close()

    def _look_at(self, lane: _Lane) -> None:
        if lane.done or lane.reports is None:
            return
        try:
            while lane.reports.poll(0.2 / len(self._lanes)):
                report = lane.reports.recv()
                if report is None:
                    lane.done = True
                    lane.process.join()
                    return
                self._write(*report)
        except EOFError:
            lane.process.join()
            self._go_on_after(lane, "lost", f"the process ended with exit status {lane.process.exitcode}")
            return
        at = lane.progress.at.value
        limit = self._campaign.seconds if at >= 0 else _START_SECONDS
        if time.monotonic() - lane.progress.since.value > limit:
            lane.process.kill()
            lane.process.join()
            self._go_on_after(lane, "hung", f"no answer after {limit:.0f} seconds")

    def _go_on_after(self, lane: _Lane, kind: str, what: str) -> None:
        index = lane.progress.at.value
        if index < 0:
            raise RuntimeError(f"{self.tally.campaign} could not begin: {what}")
        kind = self._campaign.blame(self._campaign.make(index), kind)
        self._extra[kind] += 1
        if kind in FAULTS:
            self._write(index, kind, what)
        lane.indices = range(index + lane.indices.step, lane.indices.stop, lane.indices.step)
        self._start(lane)

    def _write(self, index: int, kind: str, got: str) -> None:
        if len(self.tally.files) >= MOST_FILES:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self.tally.campaign.rpartition(':')[2]}-{self.tally.seed}-{index}.json"
        content = {
            "campaign": self.tally.campaign,
            "seed": self.tally.seed,
            "index": index,
            "kind": kind,
            "got": got,
            "input": repr(self._campaign.make(index))[:20_000],
            "again": f"python -m tests.fuzz --again {path}",
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        self.tally.files.append(path)
        self._say(f"{kind}: {path}: {got[:300]!a}")

    def _count(self) -> None:
        lanes = [lane.progress.sizes for lane in self._lanes]
        self.tally.sizes = {
            kind: self._extra[kind] + sum(sizes[at] for sizes in lanes) for at, kind in enumerate(KINDS)
        }

    def _tell(self) -> None:
        if time.monotonic() - self._told >= _EVERY_SECONDS:
            self._told = time.monotonic()
            self._say(f"{self.tally.describe()} ({self._told - self._begun:.0f} s)")

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def say(line: str) -> None:
    """A line on standard output, at once."""
    print(line, flush=True, file=sys.stdout)
