"""A disk that loses what was not synced: ``python -m tests.examples.power_cuts SCENARIO OLDER OLD NEW``.

The update of ``examples/raspberry_pi`` runs in a forked process, once for each thing that it does to the disk, and is
killed just before that. In the mode ``kept`` the disk has all that was done until then, as after ``kill -9``. After a
power cut it may not: in ``lost`` files that were not synced are cut in half, and names that were made, removed or
replaced are as they were where their folder was not synced. In ``reordered`` only the last of these reached the disk.

After every cut the device must run a whole bundle, and the same command again must end as if nothing had happened.
What is wrong is printed, a line each; then how many cuts there were.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from edgepipe import Bundle, EdgepipeError
from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "examples" / "raspberry_pi"))
import update_bundle  # type: ignore[import-not-found]

MODES = ("kept", "lost", "reordered")


class Disk:
    """What a process does to a folder, and what of it a power cut undoes.

    Args:
        root: The folder.
        cut: Before which of its changes the power is cut.
        mode: What is lost then, one of `MODES`.
    """

    def __init__(self, root: Path, cut: int, mode: str) -> None:
        self.root, self.cut, self.mode = root, cut, mode
        self.changes = 0
        self.unsynced: list[tuple[set[Path], Callable[[], None]]] = []
        self.contents: set[Path] = set()
        self.watching = True
        os.fsync = self.sync  # type: ignore[assignment]
        sys.addaudithook(self.notice)

    def notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python is about to do something."""
        if not self.watching:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, os.PathLike)) and flags & (os.O_WRONLY | os.O_RDWR):
                self.change(self.path(path), content=True)
        elif event in ("os.remove", "os.rmdir"):
            self.change(self.path(*arguments))
        elif event == "os.mkdir":
            self.change(self.path(arguments[0], arguments[2]))
        elif event == "os.symlink":
            self.change(self.path(arguments[1], arguments[2]))
        elif event == "os.rename":
            self.rename(self.path(arguments[0], arguments[2]), self.path(arguments[1], arguments[3]))

    def path(self, path: str | os.PathLike[str], folder: int = -1) -> Path:
        """The path that an event means; `folder` is a descriptor that it is relative to."""
        return Path(os.readlink(f"/proc/self/fd/{folder}"), path) if folder >= 0 else Path(path).absolute()

    def change(self, path: Path, *, content: bool = False) -> None:
        """A name is about to be made, removed, or written to."""
        if not path.is_relative_to(self.root):
            return
        self.count()
        if content:
            self.contents.add(path)
        if not content or not path.exists():
            self.unsynced.append(({path.parent}, self.restorer(path)))

    def rename(self, source: Path, target: Path) -> None:
        """A name is about to become another."""
        self.count()
        restore = self.restorer(target)

        def undo() -> None:
            if target.is_symlink() or target.exists():
                os.rename(target, source)
            restore()

        for path in [path for path in self.contents if path.is_relative_to(source)]:
            self.contents.add(target / path.relative_to(source))
        self.unsynced.append(({source.parent, target.parent}, undo))

    def restorer(self, path: Path) -> Callable[[], None]:
        """What makes a name what it is now."""
        link = os.readlink(path) if path.is_symlink() else None
        self.watching = False
        content = path.read_bytes() if link is None and path.is_file() else None
        self.watching = True
        is_folder = link is None and path.is_dir()

        def restore() -> None:
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir() and not is_folder:
                shutil.rmtree(path)
            if not path.parent.is_dir():
                return
            if link is not None:
                path.symlink_to(link)
            elif content is not None:
                path.write_bytes(content)
            elif is_folder:
                path.mkdir(exist_ok=True)

        return restore

    def sync(self, descriptor: int) -> None:
        """As ``os.fsync``, but for the waiting."""
        self.count()
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self.contents.discard(path)
        self.unsynced = [change for change in self.unsynced if path not in change[0]]

    def count(self) -> None:
        """Cut the power, if this is when."""
        self.changes += 1
        if self.changes == self.cut:
            self.watching = False
            if self.mode != "kept":
                self.lose()
            os.kill(os.getpid(), signal.SIGKILL)

    def lose(self) -> None:
        """What a disk may do to what was not synced."""
        for path in self.contents:
            if path.is_file() and not path.is_symlink():
                os.truncate(path, path.stat().st_size // 2)
        undone = self.unsynced[:-1] if self.mode == "reordered" else self.unsynced
        for _, undo in undone[::-1]:
            undo()


def run(root: Path, arguments: list[str], cut: int = 0, mode: str = "kept") -> int | None:
    """Run the update in a process of its own; its exit status, None where the power was cut."""
    process = os.fork()
    if process == 0:
        run_and_leave(root, arguments, cut, mode)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return None if status == -signal.SIGKILL else status


def run_and_leave(root: Path, arguments: list[str], cut: int, mode: str) -> NoReturn:
    """Run the update, and leave without what a process does at its end."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    Disk(root, cut, mode)
    try:
        update_bundle.main(["--root", str(root), *(argument.replace("ROOT", str(root)) for argument in arguments)])
    except SystemExit as leaving:
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)
    except BaseException:  # noqa: BLE001 - a forked process must not go on with the program of the one before
        os._exit(70)
    os._exit(0)


def describe(root: Path, names: dict[str, str]) -> dict[str, str]:
    """Which of the bundles each link names, and which is whole."""
    found = {}
    for link in ("current", "previous"):
        path = root / link
        if path.is_symlink():
            try:
                Bundle.load(path.resolve()).check()
                found[link] = names[update_bundle.read_digest(path.resolve())]
            except (EdgepipeError, OSError, KeyError) as error:
                found[link] = f"damaged: {error}"
    return found


@dataclass(frozen=True)
class Scenario:
    """A command that the power is cut in.

    Attributes:
        command: What follows ``update_bundle.py --root ROOT``.
        current: What the device may run after a cut; "nothing" where nothing was installed before.
        after: What the links name in the end.
        installed: Whether `older` and then `old` are installed before.
    """

    command: list[str]
    current: set[str]
    after: dict[str, str]
    installed: bool = True


def scenarios(older: Path, old: Path, new: Path) -> dict[str, Scenario]:
    """By name; the service is that of ``test $(cat ROOT/current/edgepipe.json) …``: it does not start with a bundle."""
    install = ["install", str(new), "--probe", "", "--restart"]
    refuse = f"! cmp --quiet ROOT/current/edgepipe.json {new}/edgepipe.json"
    return {
        "first": Scenario([*install, ""], {"nothing", "new"}, {"current": "new"}, installed=False),
        "update": Scenario([*install, ""], {"old", "new"}, {"current": "new", "previous": "old"}),
        "rollback": Scenario(["rollback", "--restart", ""], {"old", "older"}, {"current": "older"}),
        "refused": Scenario([*install, refuse], {"old", "new"}, {"current": "old"}),
    }


def main(scenario: Scenario, bundles: list[Path]) -> list[str]:
    """Cut the power everywhere in a scenario; what was found wrong. Prints how many cuts there were."""
    names = {update_bundle.read_digest(bundle): bundle.name for bundle in bundles}
    wrong: list[str] = []
    cuts = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "before").mkdir()
        for bundle in bundles[:2] if scenario.installed else []:
            assert run(folder / "before", ["install", str(bundle), "--probe", "", "--restart", ""]) == 0
        for mode in MODES:
            for cut in count(1):
                root = folder / f"{mode}-{cut}"
                shutil.copytree(folder / "before", root, symlinks=True)
                status = run(root, scenario.command, cut, mode)
                found = describe(root, names)
                if found.get("current", "nothing") not in scenario.current:
                    wrong.append(f"{mode}, cut {cut}: {found}")
                if status is None:
                    run(root, scenario.command)
                    found = describe(root, names)
                # Cut between its two links, an update or a rollback leaves no bundle to go back to.
                if found.get("current") != scenario.after["current"]:
                    wrong.append(f"{mode}, cut {cut}, then again: {found} instead of {scenario.after}")
                if status is not None and found != scenario.after:
                    wrong.append(f"{mode}, without a cut: {found} instead of {scenario.after}")
                kept = {(root / link).resolve() for link in found}
                wrong += [
                    f"{mode}, cut {cut}: leaves {path}" for path in (root / "bundles").iterdir() if path not in kept
                ]
                wrong += [f"{mode}, cut {cut}: leaves {path}" for path in root.glob("*.partial")]
                shutil.rmtree(root)
                if status is not None:
                    break
                cuts += 1
    print(*wrong, cuts, sep="\n")
    return wrong


if __name__ == "__main__":
    # Without the syncs of all files, or of all folders, something must be found wrong.
    if "--without-files" in sys.argv or "--without-folders" in sys.argv:
        real, folders = update_bundle.sync, "--without-files" in sys.argv
        update_bundle.sync = lambda path: real(path) if path.is_dir() == folders else None
    paths = [Path(path) for path in sys.argv[2:5]]
    main(scenarios(*paths)[sys.argv[1]], paths)
