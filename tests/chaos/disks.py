"""Disks that are full, read-only or broken, while something is written: an error of ours names it, and nothing is lost.

Three kinds of case. The system refuses one operation on files, drawn by its number, with ENOSPC, EDQUOT, EIO or EROFS
(:mod:`tests.chaos.faults`): of an export, an overwrite, a record of the cache, or a download from a hub on the loopback
interface. Files may have no more than a drawn number of bytes (RLIMIT_FSIZE). Or the bundle lies on a disk of a drawn
size, which is really full: a tmpfs in a mount namespace of its own, where the system lets us make one.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from edgepipe_export.output.cache import Cache
from tests.chaos.downloads import download, serve
from tests.chaos.exporters import NAMES, Exporter, describe, last_words
from tests.chaos.faults import ERRORS, Operations, refuse
from tests.chaos.run import Outcome, draw, run_cases, run_in_child, wait

KINDS = ("overwrite", "new", "file size", "small disk", "cache", "download")
# About as many writes as one download has.
_DOWNLOAD_WRITES = 30


class Disks:
    """The destinations, and how many operations an export has."""

    def __init__(self, exporter: Exporter, folder: Path, url: str) -> None:
        """Write both destinations once."""
        self._exporter = exporter
        self._url = url
        self._folder = folder
        self.output = folder / "disk" / "bundle"
        self.output.parent.mkdir(parents=True)
        self._before = NAMES[0]
        wait(exporter.start(self._before, self.output))
        self._operations = exporter.count_operations(self.output, only_writes=True)
        self._before = self._describe()
        self.can_mount = _can_mount()

    def run(self, seed: int, case: int, counts: Counter[str]) -> str | None:
        """Write while the disk is as the case says; what is wrong afterwards."""
        random = draw(seed, "disks", case)
        kind = random.choice(KINDS)
        if kind == "small disk" and not self.can_mount:
            counts["skipped: no mount namespace"] += 1
            return None
        counts[kind] += 1
        if kind == "small disk":
            return self._on_small_disk(random, counts)
        name = random.choice(sorted(ERRORS))
        if kind in ("cache", "download"):
            return self._keep(kind, name, random, counts)
        if kind == "new" and self.output.exists():
            shutil.rmtree(self.output)
        elif kind != "new" and not self.output.exists():
            wait(self._exporter.start(random.choice(NAMES), self.output))
        before = self._describe()
        wanted = NAMES[before == NAMES[0]]
        at = 1 + int(random.random() * self._operations)
        size = random.randint(1, 60_000)

        def prepare() -> None:
            if kind == "file size":
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            else:
                Operations(self.output.parent, at, refuse(name), only_writes=True)

        status = wait(self._exporter.start(wanted, self.output, prepare))
        what = f"{kind}, files of {size} bytes" if kind == "file size" else f"{kind}, {name} at write {at}"
        wrong = judge(self.output, status, before, wanted, self._describe(), counts)
        return f"{what}: {wrong}" if wrong else None

    def _describe(self) -> str:
        return describe(self.output, self._exporter.digests, self._exporter.answers)

    def _keep(self, kind: str, name: str, random: Random, counts: Counter[str]) -> str | None:
        """Write records, or download, while one write fails; then without that, which must be whole."""
        folder = self._folder / f"kept-{random.getrandbits(64)}"
        words = self._folder / "kept.said"
        at = random.randint(1, _DOWNLOAD_WRITES if kind == "download" else 8)

        def work() -> None:
            if kind == "download":
                download(self._url, folder, self._exporter.digests)
            else:
                cache = Cache(folder, "records")
                for place in range(3):
                    key = {"n": place}
                    assert cache.value(key, compute=lambda: 7, to_json=int, from_json=int) == 7

        def fail() -> None:
            Operations(folder, at, refuse(name), only_writes=True)
            work()

        said = run_in_child(fail, words)
        again = run_in_child(work, words)
        shutil.rmtree(folder, ignore_errors=True)
        counts[f"{kind}: {said.split('(')[0] or 'went on'}"] += 1
        wrong = (
            [f"{name} at write {at}: {said}"] if said.startswith("raw") or (said and str(folder) not in said) else []
        )
        if kind == "cache" and said:
            wrong.append(f"the cache did not go on: {said}")
        if again:
            wrong.append(f"{name} at write {at}, and then without: {again}")
        return f"{kind}: {'; '.join(wrong)}" if wrong else None

    def _on_small_disk(self, random: Random, counts: Counter[str]) -> str | None:
        """In a process of its own, which mounts the disk in a namespace that ends with it."""
        size = random.randint(8, 800)
        point = self._folder / "small"
        point.mkdir(parents=True, exist_ok=True)
        output = point / "bundle"
        words = self._folder / "small.said"
        process = os.fork()
        if process == 0:
            said = "the check itself failed"
            try:
                _enter_namespace(point, 2000)
                wait(self._exporter.start(NAMES[0], output))
                subprocess.run(["mount", "-o", f"remount,size={_used(point) + size * 1024}", str(point)], check=True)
                status = wait(self._exporter.start(NAMES[1], output))
                after = describe(output, self._exporter.digests, self._exporter.answers)
                mine: Counter[str] = Counter()
                said = judge(output, status, NAMES[0], NAMES[1], after, mine) or ""
                words.write_text("\n".join([said, *mine]))
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 - a forked process must not go on with its parent's program
                words.write_text(f"{said}: {error!r}")
                os._exit(1)
        wait(process)
        said, *seen = words.read_text().split("\n")
        counts.update(seen)
        return f"small disk, {size} KiB free: {said}" if said else None


def judge(output: Path, status: int, before: str, wanted: str, after: str, counts: Counter[str]) -> str:
    """What is wrong after an export that may have failed; nothing where all is as it should be."""
    kind, message = last_words(output)
    counts["wrote it" if status == 0 else f"ended with {kind}"] += 1
    wrong = []
    if status not in (0, 1):
        wrong.append(f"status {status}, {kind}: {message}")
    if status == 1 and str(output.parent) not in message:
        wrong.append(f"the message does not name what could not be written: {message}")
    if after not in (before, wanted):
        wrong.append(f"there was {before}, and there is {after}: {message}")
    if status == 0 and after != wanted:
        wrong.append(f"it ended well, and there is {after}")
    if status == 1 and after != before and "is written" not in message:
        wrong.append(f"it failed, and there is {after}: {message}")
    return "; ".join(wrong)


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return done.returncode == 0


def _enter_namespace(point: Path, kib: int) -> None:
    """Leave the parent's mounts, and mount a disk of so many KiB."""
    import ctypes

    clone_newns = 0x20000  # <linux/sched.h>
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newns) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(point)], check=True)


def _used(point: Path) -> int:
    usage = shutil.disk_usage(point)
    return usage.total - usage.free


def run(exporter: Exporter, folder: Path, seed: int, cases: Iterable[int], *, quiet: bool = False) -> Outcome:
    """Run cases of this attack in a folder."""
    with serve(exporter, folder) as url:
        disks = Disks(exporter, folder, url)
        found: Callable[[int, Counter[str]], str | None] = lambda case, counts: disks.run(seed, case, counts)  # noqa: E731
        return run_cases("disks", cases, found, quiet=quiet)
