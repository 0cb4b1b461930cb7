"""Check what would be published: ``python scripts/check_release.py [EXTRA ...]``.

1. An sdist and a wheel are built, the wheel from the sdist, and twine checks both. A second build has the same bytes.
2. For each extra an empty environment gets the wheel, and runs what the extra is for, from an empty folder.
3. The sizes of the wheel's packages are shown, and how much each environment weighs.
4. For the runtime and the exporter a bill of materials is written (`scripts/bill_of_materials.py`), and compared with
   CycloneDX's schema. A second one has the same bytes.
5. What was checked is copied to ``dist/``: that is what can be published.

``gpu`` is only resolved, not installed: it brings gigabytes, and needs a GPU to run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

from scripts.bill_of_materials import write_bill  # noqa: E402
from scripts.set_up import LOCKS  # noqa: E402

DIST = REPOSITORY / "dist"
CONSTRAINTS = REPOSITORY / "constraints.txt"

_RUNS = [("edgepipe", "--version"), ("edgepipe", "run", "I love this")]
_IMPORTS_EXPORTER = ("python", "-c", "import edgepipe_export; edgepipe_export.export")
# What an extra is for, as commands of its environment.
CHECKS: dict[str, list[tuple[str, ...]]] = {
    "cpu": [*_RUNS, ("edgepipe", "info", "--check"), ("edgepipe", "demo")],
    "chat": [("python", "-c", "import edgepipe, jinja2")],
    "guided": [("python", "-c", "import edgepipe, llguidance, llguidance.numpy")],
    "tables": [("python", "-c", "import edgepipe, pyarrow.parquet")],
    "export": [*_RUNS, _IMPORTS_EXPORTER],
    "peft": [("python", "-c", "import edgepipe_export, peft")],
    "optimum": [("optimum-cli", "export", "edgepipe", "--help")],
}
RESOLVED_ONLY = ("gpu", "webgpu", "openvino-ep", "qnn")
# The extras that have a bill of materials, and the lock with the hashes of what they bring.
BILLS = {"cpu": "runtime", "export": "export"}


def main(arguments: Sequence[str]) -> int:
    """Check the release; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("extras", nargs="*", default=[*CHECKS, *RESOLVED_ONLY], metavar="EXTRA")
    extras = parser.parse_args(arguments).extras
    with tempfile.TemporaryDirectory(prefix="edgepipe-release-") as name:
        folder = Path(name)
        wheel = build(folder)
        show_wheel(wheel)
        for extra in extras:
            if extra in RESOLVED_ONLY:
                run([sys.executable, *_pip_install(), "--dry-run", "--ignore-installed", f"{wheel}[{extra}]"])
                print(f"{extra}: can be resolved", flush=True)
            else:
                environment = check_extra(wheel, extra, folder / extra)
                if extra in BILLS:
                    write_bills(environment, extra, wheel)
        replace_dist(wheel.parent)
    print("The release can be published.", flush=True)
    return 0


def build(folder: Path) -> Path:
    """Build sdist and wheel twice, compare the bytes, and have twine check them; the wheel.

    Raises:
        SystemExit: the two builds differ, or twine finds a fault.
    """
    for name in ("dist", "again"):
        # By the hatchling of locks/build.txt: an isolated build would take the newest.
        run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / name), str(REPOSITORY)])
    files = sorted((folder / "dist").iterdir())
    for file in files:
        if file.read_bytes() != (folder / "again" / file.name).read_bytes():
            sys.exit(f"two builds of {file.name} differ: whoever builds it again cannot tell whether it is ours")
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)])
    (wheel,) = (file for file in files if file.suffix == ".whl")
    return wheel


def show_wheel(wheel: Path) -> None:
    """Show how large a wheel is, and each package in it."""
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            sizes[entry.filename.partition("/")[0]] += entry.compress_size
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB", flush=True)
    for package, size in sizes.most_common():
        print(f"  {package}: {size / 1e6:.2f} MB", flush=True)


def check_extra(wheel: Path, extra: str, folder: Path) -> Path:
    """Install a wheel with an extra into an empty environment, and run what the extra is for; the environment."""
    environment = folder / "environment"
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(parents=True)
    run([sys.executable, "-m", "venv", str(environment)])
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    run([str(binaries / "python"), *_pip_install(), "--no-compile", f"{wheel}[{extra}]"])
    for command, *rest in CHECKS[extra]:
        run([str(binaries / command), *rest], folder=elsewhere)
    weight = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"{extra}: installed and run, {weight / 1e6:.0f} MB", flush=True)
    return environment


def write_bills(environment: Path, extra: str, wheel: Path) -> None:
    """Write the bill of materials of an extra beside the wheel, twice.

    Raises:
        SystemExit: the two differ.
    """
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    version = wheel.name.split("-")[1]
    bill, again = (wheel.parent / name for name in (f"edgepipe-{version}-{extra}.cdx.json", "again.json"))
    for file in (bill, again):
        write_bill(python, extra, LOCKS / f"{BILLS[extra]}.txt", file)
    if bill.read_bytes() != again.read_bytes():
        sys.exit(f"two bills of materials of {extra} differ")
    again.unlink()
    print(f"{bill.name}: fits CycloneDX's schema", flush=True)


def replace_dist(folder: Path) -> None:
    """Have ``dist/`` hold the files of a folder and no others."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for file in sorted(folder.iterdir()):
        shutil.copyfile(file, DIST / file.name)
        print(f"dist/{file.name}: sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}", flush=True)


def run(command: list[str], folder: Path | None = None) -> None:
    """Run a command; what it says is shown where it fails.

    Raises:
        SystemExit: it failed.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")


def _pip_install() -> list[str]:
    return ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", str(CONSTRAINTS)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
