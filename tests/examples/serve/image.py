"""What ``docker build`` and ``docker run`` do with a Dockerfile, where no daemon is: root folders, mounts, namespaces.

The base image is this machine's ``/usr``, read-only, with this Python at ``/usr/local``. A command runs in namespaces
of its own for mounts, network and processes, so it is process 1, and its ports are free.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

NAMESPACES = ("--mount", "--net", "--pid")

# Mounts what an image has of the machine, and runs a command in it: root, its mounts, whether it is read-only, user.
ENTER = r"""
set -e
root=$1; mounts=$2; read_only=$3; user=$4; python=$5
shift 5
mount --bind "$root" "$root"
bind() { mount --rbind "$1" "$root$2"; mount -o remount,bind,ro "$root$2"; }
bind /usr /usr
bind "$python" /usr/local
mount -t proc proc "$root/proc"
for device in null zero urandom random; do mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t tmpfs tmpfs "$root/dev/shm"
echo /usr/local/lib > "$root/etc/ld.so.conf"
chroot "$root" /sbin/ldconfig
IFS=';'
for each in $mounts; do bind "${each%%:*}" "${each##*:}"; done
unset IFS
if [ "$read_only" = 1 ]; then
    mount -o remount,bind,ro "$root"
    mount -t tmpfs -o nosuid,nodev,noexec tmpfs "$root/tmp"
fi
ip link set lo up
exec chroot --userspec "$user" "$root" "$@"
"""


def missing() -> str:
    """What is missing here to run an image; empty where nothing is."""
    tools = [name for name in ("unshare", "nsenter", "chroot", "mount", "ip") if shutil.which(name) is None]
    if tools or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return f"running the steps of a Dockerfile needs root and {', '.join(tools) or 'Linux'}"
    if subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, check=False).returncode:
        return "no namespaces may be made here"
    if Path(sys.base_prefix).is_relative_to("/usr"):
        return "this Python is in /usr, and cannot be what an image has at /usr/local"
    if not Path("/bin").is_symlink():
        return "/bin is not in /usr here"
    return ""


def read_dockerfile(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order, each with its text."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


@dataclass
class Image:
    """A root folder, and how a process in it is started.

    Attributes:
        root: The folder.
        env: Variables.
        user: ``UID:GID``.
        entrypoint: The command.
        command: Its default arguments.
        health: The command that tells whether it is healthy.
    """

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def build(dockerfile: Path, context: Path, folder: Path, arguments: Mapping[str, str]) -> Image:
    """Follow a Dockerfile; its last stage.

    Args:
        dockerfile: The file.
        context: Where ``COPY`` takes from.
        folder: Where the root folders of its stages are made.
        arguments: Of ``--build-arg``.
    """
    stages: dict[str, Image] = {}
    image = Image(folder)
    build_env: dict[str, str] = {}
    for word, rest in read_dockerfile(dockerfile):
        if word == "FROM":
            image, build_env = Image(_make_root(folder / f"stage-{len(stages)}")), {}
            stages[rest.partition(" AS ")[2] or str(len(stages))] = image
        elif word == "ARG":
            name, _, default = rest.partition("=")
            build_env[name] = arguments.get(name, default)
        elif word == "COPY":
            *options, source, target = rest.split()
            origin = stages[options[0].removeprefix("--from=")].root if options else context
            shutil.copytree(origin / source.lstrip("/"), image.root / target.lstrip("/"), symlinks=True)
        elif word == "RUN":
            process = start(image, ["/bin/sh", "-c", rest], env=build_env, user="0:0", read_only=False)
            output = process.communicate()
            assert process.returncode == 0, "\n".join(output)
        elif word == "ENV":
            for name, value in re.findall(r"(\w+)=(\S+)", rest):
                image.env[name] = Template(value).substitute(image.env)
        elif word == "USER":
            image.user = rest
        elif word == "HEALTHCHECK":
            image.health = json.loads(rest[rest.index("[") :])
        elif word == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif word == "CMD":
            image.command = json.loads(rest)
        else:
            assert word == "EXPOSE", f"{word} is not followed here"
    return image


def start(
    image: Image,
    command: Sequence[str],
    *,
    mounts: Mapping[Path, str] | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    read_only: bool = True,
) -> subprocess.Popen[str]:
    """Start a command in an image, as ``docker run --read-only --tmpfs /tmp`` does; its output is piped.

    Args:
        image: The image.
        command: The whole command.
        mounts: Folders of this machine, by where they are mounted, read-only.
        env: More variables.
        user: ``UID:GID``, in place of the image's.
        read_only: Whether nothing but ``/tmp`` may be written.
    """
    for place in (mounts or {}).values():
        (image.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    listed = ";".join(f"{source}:{place}" for source, place in (mounts or {}).items())
    variables = {"HOME": "/", **image.env, **(env or {})}
    inner = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command]
    arguments = [str(image.root), listed, str(int(read_only)), user or image.user, sys.base_prefix, *inner]
    return subprocess.Popen(
        ["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", "-c", ENTER, "enter", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass
class Container:
    """A process that runs in an image.

    Attributes:
        image: The image.
        process: What started it.
    """

    image: Image
    process: subprocess.Popen[str]

    def run(self, command: Sequence[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as ``docker exec`` does."""
        user, group = self.image.user.split(":")
        inside = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups"]
        variables = [f"{name}={value}" for name, value in self.image.env.items()]
        target = ["nsenter", "--target", str(self.pid), *NAMESPACES, "--root"]
        return subprocess.run(
            [*target, *inside, "/usr/bin/env", "-i", *variables, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @property
    def pid(self) -> int:
        """Of its first process, as this machine has it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not (listed := children.read_text().split()):  # it has not begun yet
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        return int(listed[0])

    def ask(self, path: str, body: Any = None) -> str:
        """What the server answers.

        Raises:
            AssertionError: with another status than 200, or not at all.
        """
        data = "" if body is None else json.dumps(body)
        program = (
            "import sys; from urllib.request import urlopen; data = sys.stdin.buffer.read() or None; "
            "sys.stdout.write(urlopen(sys.argv[1], data, timeout=60).read().decode())"
        )
        done = self.run(["python", "-c", program, f"http://127.0.0.1:8080{path}"], data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_healthy(self) -> bool:
        """What the health check says now."""
        return self.run(self.image.health).returncode == 0

    def wait_until_healthy(self) -> None:
        """Ask the health check until it passes."""
        deadline = time.monotonic() + 120
        while not self.is_healthy():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "it is not healthy within two minutes"
            time.sleep(0.2)

    def stop(self) -> tuple[int, str]:
        """End it as ``docker stop`` does; the exit status, and its log."""
        os.kill(self.pid, signal.SIGTERM)
        log = self.process.communicate(timeout=90)[1]
        return self.process.returncode, log


def _make_root(root: Path) -> Path:
    """A root folder with the places of what is mounted."""
    for name in ("usr", "proc", "dev/shm", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path(f"/{name}").is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("null", "zero", "urandom", "random"):
        (root / "dev" / name).touch()
    return root
