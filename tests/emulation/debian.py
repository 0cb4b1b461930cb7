"""Packages of Debian: downloaded by this machine's own apt into a folder, and unpacked there. Nothing is installed.

apt gets directories of its own, and the sources that the machine has, with another release's name in them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

APT = Path("/etc/apt")

# Seconds for all that one call of apt downloads.
_PATIENCE = 600

_CONFIGURATION = """\
#clear APT::Architectures;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Dir::Cache "{folder}/cache";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::Status "{folder}/state/status";
"""


class UnavailableError(Exception):
    """Something that is needed cannot be had here; the message says what, and why."""


@dataclass(frozen=True, slots=True)
class AptSource:
    """Where packages come from.

    Attributes:
        address: Of the archive.
        options: As they stand in brackets in a line of ``sources.list``.
    """

    address: str
    options: str

    def line(self, suite: str, kind: str = "deb") -> str:
        """Its line, with a release's name; the kind is ``"deb-src"`` for sources."""
        return " ".join(filter(None, (kind, self.options and f"[{self.options}]", self.address, suite, "main")))


def debian_architecture() -> str:
    """This machine's, as Debian calls it; empty where there is no dpkg."""
    if shutil.which("dpkg") is None:
        return ""
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def find_sources(codename: str, folder: Path = APT) -> list[AptSource]:
    """The archives of this machine's own release.

    Args:
        codename: The release's, e.g. ``"bookworm"``.
        folder: apt's.
    """
    found = []
    for path in (folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found += list(_read_stanzas(text, codename) if path.suffix == ".sources" else _read_lines(text, codename))
    return list(dict.fromkeys(found))


def _read_lines(text: str, codename: str) -> Iterator[AptSource]:
    for line in text.splitlines():
        match = re.fullmatch(
            r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<address>\S+)\s+(?P<suite>\S+)\s+(?P<parts>.+)", line
        )
        if match and match["suite"] == codename and "main" in match["parts"].split():
            kept = [option for option in (match["options"] or "").split() if not option.startswith("arch=")]
            yield AptSource(match["address"], " ".join(kept))


def _read_stanzas(text: str, codename: str) -> Iterator[AptSource]:
    """Of the format of deb822(5)."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", lines):
        fields = {name.lower(): value for name, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE)}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        if codename in fields.get("suites", "").split() and "main" in fields.get("components", "").split():
            names = ("signed-by", "trusted")
            options = " ".join(f"{name}={fields[name].strip()}" for name in names if fields.get(name, "").strip())
            for address in fields.get("uris", "").split():
                yield AptSource(address, options)


def download(
    packages: tuple[str, ...], suite: str, architecture: str, folder: Path, *, alone: bool = False
) -> list[Path]:
    """Download packages with all that they need.

    Args:
        packages: Their names.
        suite: The release's name.
        architecture: Debian's name of it.
        folder: Where apt keeps what it knows and downloads; made if it is not there.
        alone: Whether to download nothing else.

    Returns:
        The files.

    Raises:
        UnavailableError: this is no Debian, or apt does not give them.
    """
    what = f"{' '.join(packages)} of Debian {suite} for {architecture}"
    apt = _prepare_apt("deb", suite, architecture, folder, what)
    archives = folder / "cache" / "archives"
    if alone:
        _run([*apt, "download", *packages], archives, what)
    else:
        _run([*apt, "install", "--download-only", *packages], folder, what)
    return sorted(archives.glob("*.deb"))


def download_source(package: str, suite: str, folder: Path) -> list[Path]:
    """Download the source of a package.

    Args:
        package: Its name.
        suite: The release's name.
        folder: Where apt keeps what it knows and downloads; made if it is not there.

    Returns:
        The files.

    Raises:
        UnavailableError: this is no Debian, or apt does not give it.
    """
    what = f"the source of {package} of Debian {suite}"
    apt = _prepare_apt("deb-src", suite, debian_architecture(), folder, what)
    archives = folder / "cache" / "archives"
    _run([*apt, "source", "--download-only", package], archives, what)
    return sorted(file for file in archives.iterdir() if file.is_file())


def _prepare_apt(kind: str, suite: str, architecture: str, folder: Path, what: str) -> list[str]:
    """apt with directories of its own, that knows what there is: the beginning of its command lines."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UnavailableError(f"{what}: this system has no apt")
    release = platform.freedesktop_os_release()
    sources = find_sources(release.get("VERSION_CODENAME", "")) if release.get("ID") == "debian" else []
    if not sources:
        raise UnavailableError(f"{what}: this system's sources of apt have no archive of Debian")
    for name in ("cache/archives/partial", "state/lists/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "state" / "status").touch()
    lines = (f"{source.line(suite, kind)}\n" for source in sources)
    (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
    configuration = folder / "apt.conf"
    configuration.write_text(_CONFIGURATION.format(architecture=architecture, folder=folder), encoding="utf-8")
    apt = ["apt-get", "--config-file", str(configuration), "--quiet", "--yes"]
    _run([*apt, "update"], folder, what)
    return apt


def _run(command: list[str], folder: Path, what: str) -> None:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{what}: apt took longer than {_PATIENCE} s") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise UnavailableError(f"{what}: apt says {' '.join(said) or done.stderr.strip()[-500:]}")


def unpack(files: list[Path], folder: Path) -> None:
    """Unpack packages into a folder; nothing of them is run."""
    for file in files:
        subprocess.run(["dpkg-deb", "--extract", str(file), str(folder)], check=True)
