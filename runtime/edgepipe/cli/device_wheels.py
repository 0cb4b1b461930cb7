"""The wheels that a device needs, in a folder: fetched for its system and Python, each with its sha256.

What is fetched is in ``device.txt``, which `scripts/lock.py` writes: edgepipe's own requirements without what those ask
for and do not import (tokenizers asks for the Hub's client, onnxruntime for protobuf). edgepipe's own wheel is built
where it runs from a checkout, and packed from the installed files elsewhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import edgepipe
from edgepipe.bundle.integrity import sha256
from edgepipe.errors import DependencyError, DownloadError, InputError

DEVICE_LOCK = Path(__file__).with_name("device.txt")
REQUIREMENTS = "requirements.txt"

# The newest C library that a wheel may ask for. Systems with Python 3.11 have a newer one: Debian 12 has 2.36.
_GLIBC = 28
_OLDEST_GLIBC = 17
_LINUX = re.compile(r"linux_(\w+)")
_PYTHON = re.compile(r"3\.\d{1,2}")
# What an installer adds to a package's metadata, and no wheel has.
_INSTALLER_FILES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
# Files of a zip have a time; this is the earliest that it can hold, so that two packings have the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that was written.

    Attributes:
        file: Its name.
        bytes: Its size.
        sha256: Its hash, in hexadecimal digits.
    """

    file: str
    bytes: int
    sha256: str

    @property
    def requirement(self) -> str:
        """What pip installs it by: the name and the version, which a wheel's name begins with."""
        name, version = self.file.split("-")[:2]
        return f"{name}=={version} --hash=sha256:{self.sha256}"


def write_wheels(folder: Path, platform: str, python: str, own: Path | None = None) -> list[Wheel]:
    """Write the wheels and a ``requirements.txt`` into a new folder, whole or not at all.

    Args:
        folder: It must not exist.
        platform: ``linux_aarch64``, ``linux_x86_64``, or a tag as pip takes it.
        python: The device's Python, e.g. ``"3.11"``.
        own: edgepipe's own wheel, if there is one.

    Raises:
        DependencyError: pip is missing.
        DownloadError: pip could not fetch or build a wheel; the message has its first error.
        InputError: the folder exists, or a version or wheel is none.
    """
    if os.path.lexists(folder):
        raise InputError(f"{folder} is there already: name a folder that is not, or remove it")
    if not _PYTHON.fullmatch(python):
        raise InputError(f"the device's Python must be a version such as 3.11, got {python!r}")
    if own is not None and not (own.suffix == ".whl" and own.is_file()):
        raise InputError(f"{own} is no wheel (.whl) of edgepipe; build one with: pip wheel --no-deps CHECKOUT")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        built = Path(temporary) / folder.name
        built.mkdir()
        _fetch(built, platform, python)
        if own is None:
            _write_own_wheel(built)
        else:
            (built / own.name).write_bytes(own.read_bytes())
        wheels = [Wheel(file.name, file.stat().st_size, sha256(file)) for file in sorted(built.iterdir())]
        (built / REQUIREMENTS).write_text(_list_requirements(wheels, platform, python), encoding="utf-8")
        built.rename(folder)
    return wheels


def install_command(folder: Path) -> str:
    """What installs the wheels on the device, from a copy of the folder."""
    return f"python3 -m pip install --no-deps -r {folder.name}/{REQUIREMENTS}"


def platform_tags(platform: str) -> list[str]:
    """The tags of the wheels that a platform takes, as pip wants them named: it adds none to those it is given."""
    found = _LINUX.fullmatch(platform)
    if found is None:
        return [platform]
    machine = found[1]
    versions = range(_GLIBC, _OLDEST_GLIBC - 1, -1)
    return [*(f"manylinux_2_{minor}_{machine}" for minor in versions), f"manylinux2014_{machine}", platform]


def _list_requirements(wheels: Sequence[Wheel], platform: str, python: str) -> str:
    lines = [
        f"# edgepipe {edgepipe.__version__} for {platform} and Python {python}, without a network:",
        f"#   python3 -m pip install --no-deps -r {REQUIREMENTS}",
        "--no-index",
        "--find-links .",
        *(wheel.requirement for wheel in wheels),
    ]
    return "".join(f"{line}\n" for line in lines)


def _fetch(folder: Path, platform: str, python: str) -> None:
    tags = [argument for tag in platform_tags(platform) for argument in ("--platform", tag)]
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--implementation", "cp"]
    options += ["--python-version", python, *tags, "--dest", str(folder), "--requirement", str(DEVICE_LOCK)]
    _run_pip(["download", *options], f"the wheels for {platform} and Python {python} could not be fetched")


def _write_own_wheel(folder: Path) -> None:
    checkout = Path(edgepipe.__file__).parents[2]
    if (checkout / "pyproject.toml").is_file():
        options = ["--no-deps", "--wheel-dir", str(folder)]
        # hatchling is fetched for the build where it is not there.
        options += ["--no-build-isolation"] if find_spec("hatchling") is not None else []
        _run_pip(["wheel", *options, str(checkout)], f"edgepipe's own wheel could not be built from {checkout}")
    else:
        _pack_installed(folder)


def _run_pip(arguments: Sequence[str], failure: str) -> None:
    if find_spec("pip") is None:
        raise DependencyError(
            f"pip is missing in this environment, and it fetches the wheels: {sys.executable} -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise DownloadError(
            f"{failure}: {said[-1] if said else f'pip ended with {done.returncode}'}; look at the platform, the "
            "version of Python and the network"
        )


def _pack_installed(folder: Path) -> Path:
    """Pack the installed package as the wheel that it came from.

    Source: the binary distribution format,
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/.

    Raises:
        DependencyError: the installed package has no record of its files.
    """
    try:
        found = distribution("edgepipe")
    except PackageNotFoundError as error:
        raise DependencyError("the package edgepipe was not installed by pip; name its wheel (--wheel)") from error
    tag = re.search(r"^Tag: (\S+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    files = {
        entry.as_posix(): Path(str(found.locate_file(entry))).read_bytes()
        for entry in found.files or ()
        if ".." not in entry.parts and "__pycache__" not in entry.parts and entry.name not in _INSTALLER_FILES
    }
    info = next((name.partition("/")[0] for name in files if name.endswith(".dist-info/METADATA")), None)
    if tag is None or info is None:
        raise DependencyError("edgepipe's installation has no record of its files; name its wheel (--wheel)")
    wheel = folder / f"{info.removesuffix('.dist-info')}-{tag[1]}.whl"
    record = io.StringIO()
    csv.writer(record, lineterminator="\n").writerows([*_record(files), (f"{info}/RECORD", "", "")])
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted({**files, f"{info}/RECORD": record.getvalue().encode()}.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return wheel


def _record(files: dict[str, bytes]) -> Iterator[tuple[str, str, int]]:
    for name, content in sorted(files.items()):
        digest = urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        yield name, f"sha256={digest}", len(content)


def describe_wheels(folder: Path, wheels: Sequence[Wheel], platform: str, python: str) -> dict[str, Any]:
    """What was written, as JSON can hold it."""
    return {
        "folder": str(folder),
        "platform": platform,
        "python": python,
        "wheels": [asdict(wheel) for wheel in wheels],
        "bytes": sum(wheel.bytes for wheel in wheels),
        "install": install_command(folder),
    }
