"""Set up a virtual environment with the exporter's oldest versions: ``python scripts/set_up_oldest.py OLDEST BASE``.

OLDEST gets the lower bound of each requirement that pyproject.toml names for the exporter and for datasets, each by its
hash (``locks/oldest.txt``, which `make lock` writes). All else, torch included, comes from the environment BASE, which
``make setup`` makes. The runtime's own oldest versions are tested with the wheel, in `tests/packaging`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

# Another torch would be hundreds of megabytes. Of tokenizers there is one release that we and transformers 5 allow.
LEFT_OUT = {"torch", "tokenizers"}

_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


def list_oldest() -> Iterator[str]:
    """The oldest version of each requirement that has a lower bound, as ``name==version``."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in {*project["dependencies"], *extras["export"], *extras["tables"], *extras["map"]}:
        if (pin := pin_oldest(requirement)) is not None and pin.partition("==")[0] not in LEFT_OUT:
            yield pin


def pin_oldest(requirement: str) -> str | None:
    """``name>=version``, with whatever else, as ``name==version``; None where there is no lower bound."""
    found = re.match(r"([\w-]+)[^;]*?>=\s*([\d.]+)", requirement)
    return None if found is None else f"{found[1]}=={found[2]}"


def main(oldest: Path, base: Path) -> int:
    """Make the environment; the exit status."""
    subprocess.run([sys.executable, "-m", "venv", str(oldest)], check=True)
    python = oldest / "bin" / "python"
    install(sorted(list_oldest()), python)
    others = ask(base / "bin" / "python", _PACKAGES)
    # Behind what is installed here. The .pth files there name this repository.
    behind = Path(ask(python, _PACKAGES)) / "behind.pth"
    behind.write_text(f"import site; site.addsitedir({str(Path(others).resolve())!r})\n", encoding="utf-8")
    (oldest / ".oldest").touch()
    return 0


def install(pins: list[str], python: Path) -> None:
    """Install the oldest versions as their lock has them, and nothing that they ask for."""
    print(f"Installing {', '.join(pins)}.", flush=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    lock = str(REPOSITORY / "locks" / "oldest.txt")
    subprocess.run([str(python), "-m", "pip", "install", *options, "--requirement", lock], check=True)


def ask(python: Path, program: str) -> str:
    """What a program prints."""
    return subprocess.run([str(python), "-c", program], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
