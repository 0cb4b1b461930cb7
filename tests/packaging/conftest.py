"""The wheel, built from this checkout and installed where nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
QUIET = ("--quiet", "--disable-pip-version-check")


def checked(command: Sequence[str | Path], **options: object) -> str:
    """Run a command and return its output; its error output is the message where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel.

    Attributes:
        root: The environment.
        elsewhere: An empty folder to run in, so that nothing of the checkout is found by chance.
    """

    root: Path
    elsewhere: Path

    def command(self, name: str) -> Path:
        """The path of an installed command."""
        return self.root / ("Scripts" if os.name == "nt" else "bin") / name

    def run(self, name: str, *arguments: str | Path) -> str:
        """Run an installed command and return what it printed."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return checked([self.command(name), *arguments], cwd=self.elsewhere, env=env)


def make_environment(folder: Path) -> Installation:
    """An environment with nothing but pip, and a folder to run in."""
    installation = Installation(folder / "venv", folder / "elsewhere")
    installation.elsewhere.mkdir(parents=True)
    checked([sys.executable, "-m", "venv", installation.root])
    return installation


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    checked([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY])
    (built,) = folder.glob("*.whl")
    return built


def oldest_versions() -> list[str]:
    """What pyproject.toml allows at the least, as pip's constraints: ``name>=1.2.0`` becomes ``name==1.2.0``."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    return [requirement.partition(",")[0].replace(">=", "==") for requirement in requirements]


@pytest.fixture(scope="session", params=["newest", "oldest"])
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp(f"installed-{request.param}")
    installation = make_environment(folder)
    constraints = REPOSITORY / "constraints.txt"
    if request.param == "oldest":
        constraints = folder / "oldest.txt"
        constraints.write_text("\n".join(oldest_versions()))
    # Half of the time would go into compiling modules that nobody imports.
    installation.run("python", "-m", "pip", "install", "--no-compile", *QUIET, "-c", constraints, f"{wheel}[cpu]")
    return installation
