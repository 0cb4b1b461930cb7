"""Write the lock of each stage of scripts/set_up.py: ``python scripts/lock.py [STAGE ...]``, or ``make lock``.

A lock names every package that a stage installs, for every system and Python that pyproject.toml allows, with the
sha256 of each of its files. The versions are those of constraints.txt, which names them all, so two runs write the same
until it or the files on the index change. Each package has wheels. uv does the work; it asks your package index for
names and hashes, and downloads next to nothing.

torch is in no lock: PyTorch's own index has other builds of it than the package index, with other hashes and other
needs. constraints.txt pins its version. What torch needs of the package index on every system is in the locks.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

from scripts.set_up import LOCKS, STAGES  # noqa: E402
from scripts.set_up_oldest import list_oldest  # noqa: E402

# What is there anyway; torch, and what only its builds with CUDA need.
LEFT_OUT = re.compile(r"edgepipe|pip|torch|triton|(nvidia|cuda)-[\w-]+")
# The oldest Python with which a stage can be installed, where that is not the package's own.
OLDEST_PYTHON = {"docs": "3.11.5"}
_PYTHON = "3.11"
# What builds the package, what a device installs, and the exporter's oldest versions (`make test-oldest`), beside the
# stages.
BUILD, DEVICE, OLDEST = "build", "device", "oldest"
# `edgepipe bundle-wheels` reads it, so it is part of the package.
DEVICE_LOCK = REPOSITORY / "runtime" / "edgepipe" / "cli" / "device.txt"

_HEADER = """\
# What {what}, each file by its hash.
# `make lock` writes this file from pyproject.toml and constraints.txt, with
#   {command}
"""


def main(names: Sequence[str]) -> int:
    """Write some locks, all of them where none is named; the exit status."""
    known = [BUILD, *STAGES, DEVICE, OLDEST]
    if unknown := set(names) - set(known):
        print(f"no such lock: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 1
    unpinned: set[str] = set()
    for name in names or known:
        text = lock(name)
        file = lock_file(name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(f"{file.relative_to(REPOSITORY)}: {len(list_pins(text))} packages", flush=True)
        if name != OLDEST:
            unpinned |= list_unpinned(text)
    if unpinned:
        print(f"constraints.txt lacks, so add and run this again:\n{chr(10).join(sorted(unpinned))}", file=sys.stderr)
    return int(bool(unpinned))


def lock_file(name: str) -> Path:
    """Where a lock is."""
    return DEVICE_LOCK if name == DEVICE else LOCKS / f"{name}.txt"


def lock(name: str) -> str:
    """The text of a lock.

    Raises:
        SystemExit: uv is not there, or finds no versions that fit each other.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    options = ["--universal", "--python-version", OLDEST_PYTHON.get(name, _PYTHON), "--generate-hashes"]
    options += ["--only-binary", ":all:"]
    requirements: Iterable[str] = ()
    if name == OLDEST:
        what, options = "`make test-oldest` installs", [*options, "--no-deps", "-"]
        requirements = sorted(list_oldest())
    elif name == BUILD:
        what, options = "builds the package", [*options, "--constraint", "constraints.txt", "-"]
        requirements = project["build-system"]["requires"]
    elif name == DEVICE:
        what = "a device installs beside edgepipe, without what these packages ask for and do not import"
        options += ["--no-deps", "--constraint", "constraints.txt", "-"]
        requirements = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["cpu"]]
    else:
        what = f"the stage `{name}` of scripts/set_up.py installs, without torch"
        options += ["--constraint", "constraints.txt", "--extra", STAGES[name][0], "pyproject.toml"]
    command = ["uv", "pip", "compile", *options]
    header = _HEADER.format(what=what, command=" ".join(command))
    return header + keep(compile_lock(command, "\n".join(requirements)))


def compile_lock(command: list[str], requirements: str) -> str:
    """What uv writes.

    Raises:
        SystemExit: uv is not there, or finds no versions that fit each other.
    """
    quiet = ["--quiet", "--no-header", "--no-annotate"]
    beside = shutil.which(command[0], path=str(Path(sys.executable).parent))
    try:
        done = subprocess.run(
            [beside or command[0], *command[1:], *quiet],
            cwd=REPOSITORY,
            input=requirements,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        sys.exit("uv writes the locks and is not on the PATH. Try: make lock, which installs it")
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr}")
    return done.stdout


def keep(text: str) -> str:
    """The entries of a lock without those that are installed in another way."""
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return "".join(entry for entry in entries if not LEFT_OUT.fullmatch(entry.partition("==")[0]))


def list_pins(text: str) -> list[tuple[str, str]]:
    """The packages of a lock or of constraints.txt, as the index compares names, with their versions."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE)
    return [(normal(name), version) for name, version in found]


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_unpinned(text: str) -> set[str]:
    """The pins of a lock that constraints.txt does not have."""
    constraints = list_pins((REPOSITORY / "constraints.txt").read_text(encoding="utf-8"))
    return {f"{name}=={version}" for name, version in set(list_pins(text)) - set(constraints)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
