"""Set up a virtual environment, stage by stage: ``python scripts/set_up.py ENVIRONMENT STAGE``.

A stage installs what its make targets need and nothing else; each builds on the one before. It says first what it
downloads. What a stage installed is not looked at again: a file ``.<stage>`` in the environment marks it as done, and
the Makefile compares that file with pyproject.toml, constraints.txt and the locks.

Each package is a wheel whose sha256 is in the stage's file of ``locks/`` (`scripts/lock.py`); pip refuses any other.
The package itself is then built by what ``locks/build.txt`` has. Only torch comes without a hash, from PyTorch's index
where that can be reached: its builds there are others than the package index has.

This file needs nothing but the standard library.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = REPOSITORY / "locks"

# PyTorch's builds without CUDA; what the package index has for Linux brings CUDA along.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

# What each stage installs, and about how many megabytes that downloads beside torch: the sizes of what
# `pip install --dry-run --report` lists on Linux x86-64. Where the wheels are in pip's cache, nothing is downloaded.
STAGES = {
    "runtime": ("cpu", 60, "the runtime: onnxruntime, tokenizers, numpy"),
    "export": ("export", 70, "the exporter: transformers, onnx"),
    "dev": (
        "dev",
        475,
        "the tests' tools: pytest, mypy, ruff, sentence-transformers, bitsandbytes, OpenVINO, a real checkpoint",
    ),
    "docs": ("docs", 75, "what the site is built with: Sphinx and its extensions"),
    "release": ("release", 40, "the tools that build, check and audit a release, and write the locks"),
}
WITH_TORCH = ("export", "dev")
TORCH_CPU = 200
TORCH_CUDA = 2700


def main(arguments: list[str]) -> int:
    """Install a stage into an environment, which is made if it is not there; the exit status."""
    if len(arguments) != 2 or arguments[1] not in STAGES:
        return say("usage: python scripts/set_up.py ENVIRONMENT " + "|".join(STAGES))
    environment, stage = Path(arguments[0]), arguments[1]
    try:
        return set_up(environment, stage)
    except KeyboardInterrupt:
        say("Stopped. Run the same command again to go on.")
        return 130
    except OSError as error:
        return say(f"{error.filename or environment}: {error.strerror or error}. Nothing else was changed.")


def set_up(environment: Path, stage: str) -> int:
    """Install one stage; the exit status."""
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(environment)], check=False)
        if made.returncode != 0:
            return say(
                f"{environment} could not be made, see above. On Debian and Ubuntu `venv` is a package of its own: "
                "apt install python3-venv"
            )
    _, megabytes, what = STAGES[stage]
    installed = has_torch(python)
    index = None
    if stage in WITH_TORCH and not installed:
        reachable = can_reach(TORCH_INDEX + "/torch/")
        index = TORCH_INDEX if reachable else None
        cuda = not reachable and platform.system() == "Linux" and platform.machine() == "x86_64"
        megabytes += TORCH_CUDA if cuda else TORCH_CPU
        what = f"PyTorch{' for processors' if reachable else ''}, {what}"
        if cuda:
            say(
                f"{TORCH_INDEX} cannot be reached, so PyTorch comes from your package index. "
                "There its build for Linux usually brings CUDA."
            )
    say(f"Installing {what}: up to {megabytes} MB to download, once.")
    failure = install_locked(python, LOCKS / "build.txt", LOCKS / f"{stage}.txt")
    # What torch needs is there now, but for CUDA.
    if failure is None and stage in WITH_TORCH and not installed:
        failure = install_torch(python, index)
    if failure is None:
        failure = install(python, ["--no-deps", "--no-build-isolation", "--editable", str(REPOSITORY)])
    if failure is not None:
        return explain_failure(failure)
    (environment / f".{stage}").touch()
    return 0


def install_locked(python: Path, *locks: Path) -> str | None:
    """Have pip install what locks name, each file with one of its hashes; what pip says where it cannot."""
    files = [argument for lock in locks for argument in ("--requirement", str(lock))]
    # A source distribution would be built by programs that no lock has.
    return install(python, ["--no-deps", "--require-hashes", "--only-binary", ":all:", *files])


def install_torch(python: Path, index: str | None) -> str | None:
    """Have pip install the version of torch in constraints.txt; what pip says where it cannot."""
    return install(
        python,
        [
            "--constraint",
            str(REPOSITORY / "constraints.txt"),
            *(["--extra-index-url", index] if index else []),
            "torch",
        ],
    )


def install(python: Path, arguments: list[str]) -> str | None:
    """Have pip install something; what it says where it cannot, which is shown as well."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    said = done.stderr.decode(errors="replace")
    print(said, file=sys.stderr, end="", flush=True)
    return said if done.returncode != 0 else None


def has_torch(python: Path) -> bool:
    """Whether the environment has torch."""
    program = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"
    return subprocess.run([str(python), "-c", program], check=False).returncode == 0


def can_reach(url: str, seconds: float = 5.0) -> bool:
    """Whether an address answers; proxies are taken from the environment."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            return True
    except (OSError, urllib.error.URLError):
        return False


def explain_failure(said: str) -> int:
    """Say what to do where pip failed; the exit status."""
    if "DO NOT MATCH THE HASHES" in said:
        return say(
            "A file is not the one that the lock names, and was not installed; pip's own words with both hashes are "
            "above. It was altered on its way, or your index has another file under that name. With an index of your "
            "own: have it pass on the files of the public one, or write locks of yours with `make lock`."
        )
    return say(
        "The packages could not be installed; pip's own words are above. Without a network: try again with one. "
        "Behind a proxy: set HTTPS_PROXY. With an index of your own: set PIP_INDEX_URL. With a full disk: make room, "
        "or set TMPDIR. Where no distribution matches your system: try another Python, e.g. PYTHON=python3.12. "
        "What was downloaded is kept, so the same command goes on from there."
    )


def say(text: str) -> int:
    """Write a message on standard error; the exit status of a failure."""
    print(text, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
