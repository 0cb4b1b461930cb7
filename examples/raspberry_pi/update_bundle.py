"""Install a bundle on a device, in a way that a power cut at any moment leaves a device that works.

    python update_bundle.py install SOURCE      # a directory, e.g. on a USB stick or copied by rsync
    python update_bundle.py rollback            # back to the bundle before
    python update_bundle.py confirm             # run by systemd: the service answers with the new bundle
    python update_bundle.py status

The folder (``--root``) has each bundle under a name made from its content, and two links that are only ever replaced
whole: ``current``, which the service runs, and ``previous``::

    bundles/3fe1c0a9d2b7/     bundles/9b02be6610aa/
    current -> bundles/9b02be6610aa
    previous -> bundles/3fe1c0a9d2b7
    unconfirmed                          the name of a bundle that the service has not answered with yet

What ``current`` names was copied whole, is on the disk, has the sha256 sums of its manifest, answered a text on this
device, and passed ``edgepipe check`` here, if it has probes.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgepipe import Bundle, EdgepipeError

PARTIAL = ".partial"
# Units that failed too often are not started again until their count is reset.
RESTART = "systemctl reset-failed edgepipe.service; systemctl restart edgepipe.service"


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        SystemExit: it could not be done; the message says why, and what the device runs now.
    """
    options = parse(arguments)
    store = Store(options.root)
    if options.command == "status":
        print(store.status())
    elif options.command == "confirm":  # without the lock, since an update waits for it
        confirm(store, options.health, options.seconds)
    else:
        try:
            with store.locked():
                if options.command == "install":
                    install(store, options.source, options.probe, restarter(options.restart))
                else:
                    roll_back(store, restarter(options.restart), only_unconfirmed=options.if_unconfirmed)
        except BlockingIOError:
            sys.exit("Another update is at work.")
        except (EdgepipeError, OSError) as error:
            sys.exit(f"Error: {error}. {store.status()}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, default=Path("/var/lib/edgepipe"), help="[default: %(default)s]")
    commands = parser.add_subparsers(dest="command", required=True)
    added = commands.add_parser("install", help="copy a bundle, check it, and have the service run it")
    added.add_argument("source", type=Path)
    added.add_argument("--probe", default="Hello", help="a text that the bundle must answer  [default: %(default)s]")
    added.add_argument("--restart", default=RESTART, help="[default: %(default)s]")
    added = commands.add_parser("rollback", help="have the service run the bundle before")
    added.add_argument("--if-unconfirmed", action="store_true", help="only if the service never answered with this one")
    added.add_argument("--restart", default=RESTART, help="[default: %(default)s]")
    added = commands.add_parser("confirm", help="wait until the service answers, and remember that it did")
    added.add_argument("--health", default="http://127.0.0.1:8000/health", help="[default: %(default)s]")
    added.add_argument("--seconds", type=float, default=60, help="to wait  [default: %(default)g]")
    commands.add_parser("status", help="what the device runs")
    return parser.parse_args(arguments)


class Store:
    """The folder with the bundles and the links.

    Attributes:
        root: The folder.
        bundles: Where the bundles are.
        current: The link to the bundle that the service runs.
        previous: The link to the one before.
        unconfirmed: The file with the name of a bundle that the service has not answered with yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bundles = root / "bundles"
        self.current = root / "current"
        self.previous = root / "previous"
        self.unconfirmed = root / "unconfirmed"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the system lets go of it when the process ends, however it ends.

        Raises:
            BlockingIOError: another process holds it.
        """
        self.bundles.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.remove_leftovers()
            yield

    def name(self, link: Path) -> str | None:
        """The name of the bundle that a link names; None where there is none."""
        return link.resolve().name if link.exists() else None

    def status(self) -> str:
        """A sentence on what the device runs."""
        current, previous = self.name(self.current), self.name(self.previous)
        waiting = ", which the service has not answered with yet" if self.is_unconfirmed() else ""
        return f"The device runs {current or 'no bundle'}{waiting}; before it ran {previous or 'none'}."

    def is_unconfirmed(self) -> bool:
        """Whether the service has not answered yet with the bundle that it runs."""
        return self.unconfirmed.exists() and self.unconfirmed.read_text() == self.name(self.current)

    def point(self, link: Path, name: str) -> None:
        """Have a link name a bundle: at every moment it names the old one or the new one."""
        temporary = link.with_name(f"{link.name}{PARTIAL}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path(self.bundles.name, name))
        temporary.replace(link)
        sync(self.root)

    def write_unconfirmed(self, name: str) -> None:
        """Remember that the service has not answered yet with a bundle."""
        temporary = self.unconfirmed.with_name(f"{self.unconfirmed.name}{PARTIAL}")
        temporary.write_text(name)
        sync(temporary)
        temporary.replace(self.unconfirmed)
        sync(self.root)

    def remove_leftovers(self) -> None:
        """Remove what an update that was cut off left, and bundles that no link names."""
        for leftover in self.root.glob(f"*{PARTIAL}"):
            leftover.unlink()
        kept = {self.name(self.current), self.name(self.previous)}
        for folder in self.bundles.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder)


def install(store: Store, source: Path, probe: str, restart: Callable[[], None]) -> None:
    """Copy a bundle, check it, switch to it; switch back where the service does not answer with it.

    Raises:
        EdgepipeError: the source is damaged, or is no bundle.
        OSError: it cannot be copied, e.g. since the disk is full.
        SystemExit: the bundle does not answer here, or the service does not with it.
    """
    Bundle.load(source).check()
    name = digest = read_digest(source)
    number = 1
    while (store.bundles / name).exists() and not is_whole(store.bundles / name, digest):
        number += 1  # what the disk has spoilt is not touched while the service may run it
        name = f"{digest}-{number}"
    before = store.name(store.current)
    if name == before and not store.is_unconfirmed():
        print(f"It is installed already. {store.status()}")
        return
    if name != before:
        if not (store.bundles / name).exists():
            copy(source, store.bundles / f"{name}{PARTIAL}", digest, probe)
            (store.bundles / f"{name}{PARTIAL}").rename(store.bundles / name)
            sync(store.bundles)
        if before is not None:
            store.point(store.previous, before)
        store.write_unconfirmed(name)
        store.point(store.current, name)
    try:
        restart()
    except subprocess.CalledProcessError:
        print("The service does not answer with the new bundle.", file=sys.stderr)
        roll_back(store, restart, only_unconfirmed=False)
        sys.exit(1)
    store.remove_leftovers()
    print(store.status())


def read_digest(bundle: Path) -> str:
    """What a bundle is named by: its manifest, which has the sha256 of every other file."""
    return hashlib.sha256((bundle / "edgepipe.json").read_bytes()).hexdigest()[:12]


def is_whole(bundle: Path, digest: str) -> bool:
    """Whether every file of a bundle is what it was when the bundle was made."""
    try:
        return read_digest(bundle) == digest and bool(Bundle.load(bundle).check())
    except (EdgepipeError, OSError):
        return False


def copy(source: Path, target: Path, digest: str, probe: str) -> None:
    """Copy a bundle, have the disk hold it, and see that it is whole, answers, and gives here what it gave at export.

    Raises:
        OSError: it cannot be written.
        SystemExit: it is not whole, does not answer, or gives something else here.
    """
    shutil.copytree(source, target)
    for path in [*target.rglob("*"), target]:
        sync(path)
    if not is_whole(target, digest):
        shutil.rmtree(target)
        sys.exit("The copy differs from its source: the disk may be failing.")
    commands = [["run", str(target), probe]] if probe else []
    if (target / "edgepipe_probes.json").is_file():
        commands.append(["check", str(target), "--dtype", Bundle.load(target).default_dtype])
    for command in commands:  # in processes of their own: what the engine does to them is no danger to this one
        done = subprocess.run([sys.executable, "-m", "edgepipe", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(target)
            print(done.stdout, done.stderr, sep="", end="", file=sys.stderr)
            sys.exit(
                f"The new bundle does not pass on this device: edgepipe {command[0]} ended with {done.returncode}."
            )


def roll_back(store: Store, restart: Callable[[], None], *, only_unconfirmed: bool) -> None:
    """Switch to the bundle before. There is then none before it, so that a second call changes nothing.

    Raises:
        SystemExit: there is none, or the service does not answer with it either.
    """
    if only_unconfirmed and not store.is_unconfirmed():
        print(f"The service has answered with this bundle before: it stays. {store.status()}")
        return
    previous = store.name(store.previous)
    if previous is None or previous == store.name(store.current):
        sys.exit(f"There is no bundle to go back to. {store.status()}")
    store.point(store.current, previous)
    store.previous.unlink()
    store.unconfirmed.unlink(missing_ok=True)
    sync(store.root)
    try:
        restart()
    except subprocess.CalledProcessError as error:
        sys.exit(f"The bundle before is set, but the service does not start: {error}. {store.status()}")
    store.remove_leftovers()
    print(store.status())


def confirm(store: Store, health: str, seconds: float) -> None:
    """Wait until the service answers with the bundle that `current` names, and remember that it did.

    Raises:
        SystemExit: it does not.
    """
    deadline = time.monotonic() + seconds
    current, found = store.name(store.current), None
    while found != current:
        try:
            with urllib.request.urlopen(health, timeout=5) as answer:
                found = json.load(answer)["bundle"]
        except (OSError, ValueError) as error:
            found = error
        if time.monotonic() > deadline:
            sys.exit(f"The service does not answer at {health} with {current}: {found}")
        time.sleep(0.1)
    if store.is_unconfirmed():
        store.unconfirmed.unlink()
        sync(store.root)


def restarter(command: str) -> Callable[[], None]:
    """What restarts the service and waits until it answers; CalledProcessError where it does not."""

    def restart() -> None:
        if command:
            subprocess.run(command, shell=True, check=True)

    return restart


def sync(path: Path) -> None:
    """Have the disk hold a file's content, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
