"""qemu with plug-ins, from Debian's source, and the plug-in that counts; Debian's own qemu is static and loads none.

In ``build/emulation/counting``::

    source/qemu-10.../       Debian's source, and what is built of it in ``build``
    libraries/               glib, PCRE and zlib of this machine's release, to build with and to run with
    tools/                   a virtual environment with qemu's build tools
    qemu-aarch64             the emulators, qemu-x86_64 likewise
    count.so                 the plug-in
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.emulation.debian import UnavailableError, debian_architecture, download, download_source, unpack
from tests.emulation.environment import BUILD, QEMU_SUITE, say
from tests.emulation.processors import MACHINES

FOLDER = BUILD / "counting"
PLUGIN_SOURCE = Path(__file__).with_name("count.c")

# What qemu asks of Python: as it asks, and the versions that were seen to do.
_TOOLS = ("meson==1.12.1", "ninja", "pycotap")
# Packages that are unpacked; others that apt would download with them are not needed.
_LIBRARIES = ("libglib2.0", "libpcre2", "zlib1g")
# Seconds; on two cores it took five minutes.
_PATIENCE = 3000


def make_counting_emulator(architecture: str) -> tuple[Path, Path]:
    """An emulator that counts, and its plug-in; what is not there yet is downloaded and built.

    Args:
        architecture: The emulated one.

    Raises:
        UnavailableError: something cannot be had, or qemu cannot be built.
    """
    emulator, plugin = FOLDER / f"qemu-{MACHINES[architecture]}", FOLDER / "count.so"
    if not emulator.is_file():
        _build_emulators()
    if not plugin.is_file() or plugin.stat().st_mtime < PLUGIN_SOURCE.stat().st_mtime:
        [source] = FOLDER.glob("source/qemu-*/include/qemu")
        flags = _run(["pkg-config", "--cflags", "glib-2.0"], FOLDER).split()
        options = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-I", str(source), *flags]
        _run(["cc", *options, "-o", str(plugin), str(PLUGIN_SOURCE)], FOLDER)
    return emulator, plugin


def _build_emulators() -> None:
    for tool in ("cc", "pkg-config", "make"):
        if shutil.which(tool) is None:
            raise UnavailableError(f"a qemu that counts: building it needs {tool}")
    say(f"The source of qemu of Debian {QEMU_SUITE}: some 130 MB to download, and minutes to build, once.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    source = FOLDER / "source"
    if not source.is_dir():
        files = download_source("qemu", QEMU_SUITE, BUILD / "apt" / "qemu-source")
        [archive] = (file for file in files if ".orig.tar" in file.name)
        part = source.with_name("source.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        _run(["tar", "--extract", "--file", str(archive)], part)
        part.rename(source)
    libraries = FOLDER / "libraries"
    if not libraries.is_dir():
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        packages = ("libglib2.0-dev", "zlib1g-dev")
        files = download(packages, suite, debian_architecture(), BUILD / "apt" / "qemu-libraries")
        libraries.mkdir()
        unpack([file for file in files if file.name.startswith(_LIBRARIES)], libraries)
    tools = FOLDER / "tools"
    python = tools / "bin" / "python"
    _run([sys.executable, "-m", "venv", "--clear", str(tools)], FOLDER)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_TOOLS], FOLDER)
    [top] = source.glob("qemu-*")
    build = top / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    places = ",".join(f"-rpath,{folder}" for folder in _library_folders())
    targets = ",".join(f"{machine}-linux-user" for machine in MACHINES.values())
    # Debian's source lacks the firmware that install-blobs would ask for.
    options = ("--without-default-features", "--enable-plugins", "--disable-download", "--disable-install-blobs")
    _run(
        ["../configure", f"--python={python}", *options, f"--target-list={targets}", f"--extra-ldflags=-Wl,{places}"],
        build,
    )
    names = [f"qemu-{machine}" for machine in MACHINES.values()]
    _run([str(tools / "bin" / "ninja"), f"-j{os.cpu_count() or 1}", *names], build)
    for name in names:
        shutil.copy2(build / name, FOLDER / name)


def _library_folders() -> list[Path]:
    libraries = FOLDER / "libraries"
    return [folder for place in ("usr/lib", "lib") for folder in (libraries / place).glob("*-linux-gnu")]


def _environment() -> Mapping[str, str]:
    libraries = FOLDER / "libraries"
    places = [*(folder / "pkgconfig" for folder in _library_folders()), libraries / "usr/share/pkgconfig"]
    own = {"PKG_CONFIG_LIBDIR": ":".join(map(str, places)), "PKG_CONFIG_SYSROOT_DIR": str(libraries)}
    return os.environ | own | {"PATH": f"{FOLDER / 'tools' / 'bin'}:{os.environ['PATH']}"}


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise UnavailableError(f"a qemu that counts: {Path(command[0]).name} says {said[-500:]}")
    return done.stdout
