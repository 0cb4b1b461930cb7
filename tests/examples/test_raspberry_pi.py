"""``examples/raspberry_pi``: whenever the power is cut, the device runs a whole bundle, and its service answers."""

from __future__ import annotations

import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgepipe import Bundle
from tests.conftest import REPOSITORY
from tests.examples.servers import free_port
from tests.examples.start_unit import EXAMPLE, localize, read_unit, start, stop
from tests.runtime.probed_bundle import turn_weights, write_probed_bundle
from tests.runtime.small_bundle import LABELS, LIMIT, flip_last_byte, write_bundle

UNITS = ("edgepipe.service", "edgepipe-rollback.service")
NO_SERVICE = ("--restart", "")


def write_named(folder: Path, **options: Any) -> Path:
    """A bundle that is told apart by its labels, which have the folder's name."""
    config = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(index): f"{folder.name} {label}" for index, label in enumerate(LABELS)},
        "max_position_embeddings": LIMIT,
    }
    return write_bundle(folder, config=config, **options)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {name: write_named(folder / name) for name in ("older", "old", "new")}
    # Whole, but the service is one for text classification.
    made["useless"] = write_named(folder / "useless", task="token-classification")
    return made


@dataclass(frozen=True)
class Device:
    """A folder in the place of ``/var/lib/edgepipe``.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def restart(self) -> tuple[str, str]:
        """The option that has an update restart the service."""
        command = [sys.executable, "-m", "tests.examples.start_unit", str(self.root)]
        return "--restart", f"cd {shlex.quote(str(REPOSITORY))} && {shlex.join(command)}"

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, str(EXAMPLE / "update_bundle.py"), "--root", str(self.root), *map(str, arguments)]

    def run(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, timeout=300, **options
        )

    def current(self) -> Path:
        """The bundle that the device runs, which is whole."""
        path = (self.root / "current").resolve(strict=True)
        assert Bundle.load(path).check()
        return path

    def labels(self) -> list[str]:
        port = (self.root / "port").read_text()
        served = httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).json()
        assert served["bundle"] == self.current().name
        return list(served["labels"])

    def is_unconfirmed(self) -> bool:
        return "which the service has not answered with yet" in self.run("status").stdout


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device")


@pytest.fixture
def serving(device: Device) -> Iterator[Device]:
    """A device whose service is that of the unit."""
    device.root.mkdir()
    (device.root / "port").write_text(str(free_port()))
    yield device
    stop(device.root)


def label(bundle: str) -> str:
    return f"{bundle} {LABELS[0]}"


@pytest.fixture(scope="module")
def cut(bundles: dict[str, Path]) -> Callable[..., list[str]]:
    def run(*arguments: str) -> list[str]:
        scenario, *options = arguments
        paths = [str(bundles[name]) for name in ("older", "old", "new")]
        command = [sys.executable, "-m", "tests.examples.power_cuts", scenario, *paths, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=REPOSITORY)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize("scenario", ["first", "update", "rollback", "refused"])
def test_a_cut_at_any_moment_leaves_a_whole_bundle(scenario: str, cut: Callable[..., list[str]]) -> None:
    *wrong, cuts = cut(scenario)
    assert not wrong, "\n".join(wrong)
    assert int(cuts) > 40


@pytest.mark.parametrize("what", ["files", "folders"])
def test_the_disk_of_these_tests_loses_what_is_not_synced(what: str, cut: Callable[..., list[str]]) -> None:
    assert len(cut("update", f"--without-{what}")) > 1


def test_the_service_runs_what_was_installed(serving: Device, bundles: dict[str, Path]) -> None:
    for name in ("older", "old", "new"):
        done = serving.run("install", bundles[name], *serving.restart)
        assert done.returncode == 0, done.stderr
        assert label(name) in serving.labels()
        assert not serving.is_unconfirmed()
    assert len(list((serving.root / "bundles").iterdir())) == 2
    done = serving.run("rollback", *serving.restart)
    assert done.returncode == 0, done.stderr
    assert label("old") in serving.labels()
    again = serving.run("rollback", *serving.restart)
    assert (again.returncode, "no bundle to go back to" in again.stderr) == (1, True)
    assert label("old") in serving.labels()


def test_killed_at_any_time_the_service_comes_back(serving: Device, bundles: dict[str, Path]) -> None:
    """The process of the update and that of the service end; then the device starts the service, as it does at boot."""
    assert serving.run("install", bundles["old"], *serving.restart).returncode == 0
    began = time.monotonic()
    assert serving.run("install", bundles["new"], *serving.restart).returncode == 0
    seconds = time.monotonic() - began
    assert serving.run("rollback", *serving.restart).returncode == 0
    generator = random.Random(0)
    seen = set()
    for part in range(6):
        update = subprocess.Popen(
            serving.command("install", bundles["new"], *serving.restart),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(seconds * (part + generator.random()) / 6)
        os.killpg(update.pid, signal.SIGKILL)
        update.wait(timeout=60)
        stop(serving.root)
        assert start(serving.root) == 0
        [found] = {name for name in ("old", "new") if label(name) in serving.labels()}
        seen.add(found)
        assert not serving.is_unconfirmed()
        if found == "new":
            assert serving.run("rollback", *serving.restart).returncode == 0
    assert "old" in seen
    assert serving.run("install", bundles["new"], *serving.restart).returncode == 0
    assert label("new") in serving.labels()


def test_a_bundle_that_the_service_cannot_serve_is_taken_back(serving: Device, bundles: dict[str, Path]) -> None:
    assert serving.run("install", bundles["old"], *serving.restart).returncode == 0
    done = serving.run("install", bundles["useless"], "--probe", "", *serving.restart)
    assert done.returncode == 1
    assert "The service does not answer with the new bundle." in done.stderr
    assert label("old") in serving.labels()
    assert [path.name for path in (serving.root / "bundles").iterdir()] == [serving.current().name]


def test_at_boot_a_bundle_that_never_answered_is_taken_back(serving: Device, bundles: dict[str, Path]) -> None:
    """The power was cut after the switch: what systemd then does is in the units."""
    assert serving.run("install", bundles["old"], *serving.restart).returncode == 0
    assert serving.run("install", bundles["useless"], "--probe", "", *NO_SERVICE).returncode == 0
    stop(serving.root)
    assert serving.is_unconfirmed()
    unit = read_unit("edgepipe.service")["Unit"]
    assert [start(serving.root) for _ in range(int(unit["StartLimitBurst"]))] == [1, 1, 1]
    assert unit["OnFailure"] == UNITS[1]
    port = int((serving.root / "port").read_text())
    command = shlex.split(localize(read_unit(UNITS[1])["Service"]["ExecStart"], serving.root, port))
    done = subprocess.run([*command, *serving.restart], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert label("old") in serving.labels()


def test_a_bundle_that_has_answered_stays(serving: Device, bundles: dict[str, Path]) -> None:
    """The service may fail for other reasons, and the bundle before would not help."""
    for name in ("old", "new"):
        assert serving.run("install", bundles[name], *serving.restart).returncode == 0
    done = serving.run("rollback", "--if-unconfirmed", *serving.restart)
    assert done.returncode == 0
    assert "has answered with this bundle before: it stays" in done.stdout
    assert label("new") in serving.labels()


def test_a_damaged_source_changes_nothing(device: Device, bundles: dict[str, Path], tmp_path: Path) -> None:
    assert device.run("install", bundles["old"], *NO_SERVICE).returncode == 0
    before = device.current()
    damaged = Path(shutil.copytree(bundles["new"], tmp_path / "damaged"))
    flip_last_byte(damaged / "onnx" / "model.onnx_data")
    done = device.run("install", damaged, *NO_SERVICE)
    assert done.returncode == 1
    assert "was altered" in done.stderr
    assert f"The device runs {before.name}" in done.stderr
    assert device.current() == before


def test_a_bundle_that_does_not_answer_here_changes_nothing(device: Device, tmp_path: Path) -> None:
    assert device.run("install", write_named(tmp_path / "old"), *NO_SERVICE).returncode == 0
    before = device.current()
    mute = write_named(tmp_path / "mute", inputs=("input_ids", "what_nothing_makes"))
    done = device.run("install", mute, *NO_SERVICE)
    assert done.returncode == 1
    assert "does not pass on this device: edgepipe run ended with 1" in done.stderr
    assert "what_nothing_makes" in done.stderr
    assert device.current() == before
    assert [path.name for path in (device.root / "bundles").iterdir()] == [before.name]


def test_a_bundle_that_gives_something_else_here_is_not_installed(
    device: Device, bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder = write_probed_bundle(tmp_path / "altered", ("fp32",))
    assert device.run("install", bundles["old"], *NO_SERVICE).returncode == 0
    before = device.current()
    turn_weights(folder, "fp32")  # as a processor that computes something else: every digest fits
    done = device.run("install", folder, "--probe", "", *NO_SERVICE)
    assert done.returncode == 1
    assert "computes something else" in done.stderr
    assert "does not pass on this device: edgepipe check ended with 1" in done.stderr
    assert device.current() == before


def test_a_full_disk_changes_nothing(device: Device, bundles: dict[str, Path]) -> None:
    assert device.run("install", bundles["old"], *NO_SERVICE).returncode == 0
    before = device.current()
    largest = max(path.stat().st_size for path in bundles["new"].rglob("*"))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, largest - 1))

    done = device.run("install", bundles["new"], *NO_SERVICE, preexec_fn=limit)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr
    assert device.current() == before
    assert device.run("install", bundles["new"], *NO_SERVICE).returncode == 0


def test_what_the_disk_has_spoilt_is_installed_again(device: Device, bundles: dict[str, Path]) -> None:
    assert device.run("install", bundles["old"], *NO_SERVICE).returncode == 0
    spoilt = device.current()
    flip_last_byte(spoilt / "onnx" / "model.onnx_data")
    done = device.run("install", bundles["old"], *NO_SERVICE)
    assert done.returncode == 0, done.stderr
    assert device.current().name == f"{spoilt.name}-2"


def test_installed_twice_is_installed_once(serving: Device, bundles: dict[str, Path]) -> None:
    assert serving.run("install", bundles["old"], *serving.restart).returncode == 0
    done = serving.run("install", bundles["old"], *serving.restart)
    assert done.returncode == 0
    assert done.stdout.startswith("It is installed already. The device runs ")
    assert serving.run("status").stdout == done.stdout.removeprefix("It is installed already. ")


def test_two_at_once_are_one_too_many(device: Device, bundles: dict[str, Path]) -> None:
    import fcntl

    device.root.mkdir()
    with (device.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = device.run("install", bundles["old"], *NO_SERVICE)
    assert (done.returncode, done.stderr) == (1, "Another update is at work.\n")


def test_confirm_waits_for_the_bundle_and_no_other(serving: Device, bundles: dict[str, Path]) -> None:
    """An answer of a service that still has the bundle before confirms nothing."""
    assert serving.run("install", bundles["old"], *serving.restart).returncode == 0
    assert serving.run("install", bundles["new"], *NO_SERVICE).returncode == 0
    url = f"http://127.0.0.1:{(serving.root / 'port').read_text()}/health"
    done = serving.run("confirm", "--health", url, "--seconds", "1")
    assert done.returncode == 1
    assert f"does not answer at {url} with {serving.current().name}" in done.stderr
    assert serving.is_unconfirmed()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for name in UNITS:
        text = (EXAMPLE / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(localize(text, tmp_path, 8000), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
