"""A Python of a processor: qemu, Debian's Python in a folder, real wheels, and a script that starts them.

In ``build/emulation``::

    qemu/                                    the emulator of this machine
    arm64/root/                              Debian's Python and C libraries
    arm64/newest/  arm64/oldest/             site-packages
    arm64/cortex-a72/root/                   links to the root, and what the processor says of itself
    arm64/cortex-a72/newest/bin/python       an environment; its interpreter is a script of this machine

Nobody tells the kernel how to run programs of another processor (binfmt_misc needs rights that a build has not). But
qemu hands what is started to the kernel, which runs a script of this machine. So ``sys.executable`` is a script that
starts qemu once more.
"""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

from edgepipe.backend.machine import kernel_flags
from tests.emulation.debian import UnavailableError, debian_architecture, download, unpack
from tests.emulation.processors import MACHINES, Processor

REPOSITORY = Path(__file__).parents[2]
BUILD = REPOSITORY / "build" / "emulation"

# qemu 7.2 crashes on importing onnxruntime; this release has 10. The root's Python is the oldest that edgepipe takes.
QEMU_SUITE, ROOT_SUITE = "trixie", "bookworm"
PYTHON = "3.11"

NEWEST, OLDEST = VERSIONS = ("newest", "oldest")
ENGINE = "onnxruntime"
# What runs a bundle; the range of each is in pyproject.toml.
RUNTIME_PACKAGES = (ENGINE, "tokenizers", "numpy")
# What the tests of the runtime import beside it and can be had. transformers without torch is tokenizers' reference.
TEST_PACKAGES = ("click", "hypothesis", "jinja2", "onnx", "pip", "pyarrow", "pytest", "safetensors")
NEWEST_TEST_PACKAGES = ("transformers",)

# glibc versions that wheels may ask for: 2.36 is the root's.
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35, 36)


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def make_python(processor: Processor, versions: str) -> Path:
    """The interpreter of a processor with packages; what is not there yet is downloaded.

    Args:
        processor: The processor.
        versions: One of :data:`VERSIONS`: of the packages.

    Raises:
        UnavailableError: something cannot be had.
    """
    start_words(processor)
    root = make_root(processor.architecture)
    site = make_site(processor.architecture, versions)
    folder = BUILD / processor.architecture / processor.name
    own_root = folder / "root"
    if processor.emulated and not own_root.is_dir():
        own_root.mkdir(parents=True)
        for path in root.iterdir():
            (own_root / path.name).symlink_to(path)
        if processor.flags:
            (own_root / "proc").mkdir()
            (own_root / "proc" / "cpuinfo").write_text(_cpuinfo(processor), encoding="utf-8")
    environment = folder / versions
    library = environment / "lib" / f"python{PYTHON}"
    library.mkdir(parents=True, exist_ok=True)
    if not (library / "site-packages").is_symlink():
        (library / "site-packages").symlink_to(site)
    return write_interpreter(processor, environment)


def write_interpreter(processor: Processor, environment: Path) -> Path:
    """The interpreter of an environment, whose packages are its own.

    Args:
        processor: The processor.
        environment: Its folder; made if it is not there.

    Raises:
        UnavailableError: qemu cannot be had, or this machine is no such processor.
    """
    words, root = start_words(processor), make_root(processor.architecture)
    home = "/usr/bin" if processor.emulated else root / "usr" / "bin"
    environment.mkdir(parents=True, exist_ok=True)
    (environment / "pyvenv.cfg").write_text(f"home = {home}\nversion = {PYTHON}\n", encoding="utf-8")
    python = environment / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    command = f'{shlex.join(words)} "$0" {shlex.quote(str(program_of(processor)))} "$@"'
    python.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return python


def start_words(processor: Processor) -> list[str]:
    """What starts a program as a processor, up to the option whose value the program sees as its name.

    Raises:
        UnavailableError: qemu cannot be had; or qemu does not emulate it, and this machine is none.
    """
    if processor.emulated:
        own_root = BUILD / processor.architecture / processor.name / "root"
        return [str(make_emulator(processor.architecture)), "-cpu", processor.cpu, "-L", str(own_root), "-0"]
    missing = sorted(set(processor.flags) - set(kernel_flags()))
    if missing or debian_architecture() != processor.architecture:
        raise UnavailableError(
            f"qemu does not emulate it, and this machine has no {' '.join(missing) or 'such Python'}"
        )
    # The C library's own loader starts a program with the libraries of the root beside it.
    root = BUILD / processor.architecture / "root"
    machine = MACHINES[processor.architecture]
    places = ":".join(f"{root}/{place}/{machine}-linux-gnu" for place in ("usr/lib", "lib"))
    loader = root / "lib64" / f"ld-linux-{machine.replace('_', '-')}.so.2"
    return [str(loader), "--library-path", places, "--argv0"]


def program_of(processor: Processor) -> Path:
    """Debian's Python of a processor's architecture."""
    return BUILD / processor.architecture / "root" / "usr" / "bin" / f"python{PYTHON}"


def make_emulator(architecture: str) -> Path:
    """qemu for an architecture, that runs on this machine.

    Raises:
        UnavailableError: it cannot be had.
    """
    folder = BUILD / "qemu"
    program = folder / "usr" / "bin" / f"qemu-{MACHINES[architecture]}"
    if not program.is_file():
        say(f"qemu of Debian {QEMU_SUITE}: about 60 MB to download, once.")
        packages = download(("qemu-user",), QEMU_SUITE, debian_architecture(), BUILD / "apt" / "qemu", alone=True)
        _unpack_whole(packages, folder)
    return program


def make_root(architecture: str) -> Path:
    """The folder with Python and C libraries of an architecture.

    Raises:
        UnavailableError: they cannot be had.
    """
    folder = BUILD / architecture / "root"
    if not folder.is_dir():
        say(f"Python of Debian {ROOT_SUITE} for {architecture}: about 25 MB to download, once.")
        packages = (f"python{PYTHON}", "libstdc++6")
        _unpack_whole(download(packages, ROOT_SUITE, architecture, BUILD / "apt" / architecture), folder)
    return folder


def _unpack_whole(files: list[Path], folder: Path) -> None:
    """Unpack all or nothing."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    unpack(files, part)
    part.rename(folder)


def make_site(architecture: str, versions: str) -> Path:
    """The folder of packages of an architecture: those that run bundles, and those that the tests import.

    Raises:
        UnavailableError: one of them has no wheel there, or the index cannot be reached.
    """
    folder = BUILD / architecture / versions
    wanted = [*(f"{name}=={version}" for name, version in pinned_versions(versions).items()), *TEST_PACKAGES]
    if versions == NEWEST:
        wanted += NEWEST_TEST_PACKAGES
    record = folder / "requested.txt"
    if record.is_file() and record.read_text(encoding="utf-8").split() == wanted:
        return folder
    say(f"Wheels for {architecture}, the {versions} versions: about 150 MB to download, once.")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    platforms = [f"manylinux_2_{minor}_{MACHINES[architecture]}" for minor in _GLIBC]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(part)),
        *(word for name in (*platforms, f"manylinux2014_{MACHINES[architecture]}") for word in ("--platform", name)),
        *("--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"),
        *(["--constraint", str(REPOSITORY / "constraints.txt")] if versions == NEWEST else []),
        *wanted,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UnavailableError(f"the wheels for {architecture}, {versions} versions: pip says {' '.join(said)[-500:]}")
    _add_edgepipe(part)
    (part / record.name).write_text("\n".join(wanted), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def _add_edgepipe(site: Path) -> None:
    """The runtime and its data from the source tree, without the exporter, which needs torch."""
    roots = (REPOSITORY / "runtime", REPOSITORY / "models")
    (site / "edgepipe.pth").write_text("".join(f"{root}\n" for root in roots), encoding="utf-8")
    own = distribution("edgepipe")
    record = site / f"edgepipe-{own.version}.dist-info"
    record.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (record / name).write_text(own.read_text(name) or "", encoding="utf-8")


def pinned_versions(versions: str) -> Mapping[str, str]:
    """The version of each of :data:`RUNTIME_PACKAGES`: of constraints.txt, or the first of pyproject.toml's ranges."""
    if versions == NEWEST:
        pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE))
        return {name: pins[name] for name in RUNTIME_PACKAGES}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ranges = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    firsts = dict(match.groups() for each in ranges if (match := re.match(r"([\w-]+)>=([\d.]+)", each)))
    return {name: firsts[name] for name in RUNTIME_PACKAGES}


def _cpuinfo(processor: Processor) -> str:
    """What Linux would say of it: qemu shows programs of x86 this machine's own file."""
    return f"processor\t: 0\nmodel name\t: {processor.cpu} (emulated)\nflags\t\t: {' '.join(processor.flags)}\n"
