"""Clocks that jump by years, to and fro, while something is exported, cached, downloaded or loaded.

Every second reading of ``time.time`` in the process says another year between 1971 and 2100. So do the times of files
that are there. Nothing may hang, end early, or answer otherwise. What C++ and Rust read of clocks stays as it is.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from edgepipe_export.output.cache import Cache
from edgepipe_export.output.partial_folders import hold_parent
from tests.chaos.downloads import download, serve
from tests.chaos.exporters import NAMES, Exporter, answer, describe, last_words
from tests.chaos.run import Outcome, draw, run_cases, run_in_child, wait

# Seconds of the years between which a clock jumps.
_EARLIEST, _LATEST = 31536000, 4102444800
# A case takes a fraction of a second; more than that by so much is a limit that a clock moved.
_MOST_SECONDS = 60


def jump(random: Random) -> None:
    """Have this process's clock jump from now on."""
    now, now_ns = time.time, time.time_ns

    def jumping() -> float:
        return random.uniform(_EARLIEST, _LATEST) if random.random() < 0.5 else now()

    def jumping_ns() -> int:
        return int(jumping() * 1e9) if random.random() < 0.5 else now_ns()

    time.time, time.time_ns = jumping, jumping_ns


def age_files(folder: Path, random: Random) -> None:
    """Give all files in a folder, and folders, times of any year."""
    for path in [folder, *folder.rglob("*")]:
        moment = random.uniform(_EARLIEST, _LATEST)
        os.utime(path, (moment, moment), follow_symlinks=False)


def _use_cache(folder: Path, random: Random) -> None:
    """Write records, find them again, and prune to a few; damage is an AssertionError."""
    cache = Cache(folder, "records")
    for _ in range(2):
        for place in range(20):
            found = cache.value({"n": place}, compute=lambda place=place: place, to_json=int, from_json=int)  # type: ignore[misc]
            assert found == place
        age_files(folder, random)
    assert (cache.hits, cache.misses) == (20, 20), (cache.hits, cache.misses)
    cache.prune(limit=1000)
    left = sum(path.stat().st_size for path in folder.rglob("*.json"))
    assert left <= 1000, left


class Clocks:
    """What is written and read while clocks jump."""

    def __init__(self, exporter: Exporter, folder: Path, url: str) -> None:
        """Write a bundle once."""
        self._exporter, self._folder, self._url = exporter, folder, url
        self.output = folder / "clocks" / "bundle"
        self.output.parent.mkdir(parents=True)
        wait(exporter.start(NAMES[0], self.output))

    def run(self, seed: int, case: int, counts: Counter[str]) -> str | None:
        """One of the four, while clocks jump; what is wrong."""
        random = draw(seed, "clocks", case)
        kind = random.choice(["export", "load", "cache", "download"])
        counts[kind] += 1
        begin = time.monotonic()
        wrong = self._export(random) if kind == "export" else self._in_child(kind, random, case)
        if time.monotonic() - begin > _MOST_SECONDS:
            wrong = f"it took {time.monotonic() - begin:.0f} s; {wrong}"
        return f"{kind}: {wrong}" if wrong else None

    def _describe(self) -> str:
        return describe(self.output, self._exporter.digests, self._exporter.answers)

    def _export(self, random: Random) -> str:
        before = self._describe()
        wanted = NAMES[before == NAMES[0]]
        age_files(self.output.parent, random)
        status = wait(self._exporter.start(wanted, self.output, lambda: jump(random)))
        after = self._describe()
        left = [name for name in os.listdir(self.output.parent) if name.startswith(".")]
        fine = status == 0 and after == wanted and not left
        return "" if fine else f"status {status} {last_words(self.output)}, there is {after}, left {left}"

    def _in_child(self, kind: str, random: Random, case: int) -> str:
        folder = self._folder / f"{kind}-{case}"

        def work() -> None:
            jump(random)
            if kind == "cache":
                _use_cache(folder, random)
            elif kind == "download":
                download(self._url, folder, self._exporter.digests)
                age_files(folder, random)
                download(self._url, folder, self._exporter.digests)
            else:
                with hold_parent(self.output):
                    assert answer(self.output) in self._exporter.answers.values()

        return run_in_child(work, self._folder / "clock.said")


def run(exporter: Exporter, folder: Path, seed: int, cases: Iterable[int], *, quiet: bool = False) -> Outcome:
    """Run cases of this attack in a folder, beside a hub on the loopback interface."""
    with serve(exporter, folder) as url:
        clocks = Clocks(exporter, folder, url)
        found: Callable[[int, Counter[str]], str | None] = lambda case, counts: clocks.run(seed, case, counts)  # noqa: E731
        return run_cases("clocks", cases, found, quiet=quiet)
