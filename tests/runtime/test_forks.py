"""Processes that are forked beside threads that call: the child's first call comes back."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepipe.forks import RenewedLock, is_any_running, within_engine
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks")

# Before, 0.5 to 5 of 100 such forks hung.
FORKS = 60


def in_child(work: str, setup: str) -> str:
    """What a program says whose child does `work`; its alarm ends a child that hangs."""
    program = "\n".join(
        [
            "import os, signal, sys, threading, warnings",
            "from edgepipe.forks import RenewedLock, within_engine",
            "warnings.simplefilter('ignore')",  # Python's own about forks beside threads
            setup,
            "process = os.fork()",
            "if process == 0:",
            "    signal.alarm(20)",
            f"    {work}",
            "    os._exit(0)",
            "print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))",
            "sys.stdout.flush()",
            "os._exit(0)",
        ]
    )
    return run_python(program)


def test_a_lock_that_another_thread_holds_is_free_in_the_child() -> None:
    setup = """
lock, held = RenewedLock(), threading.Event()
def hold():
    with lock:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
"""
    assert in_child("lock.__enter__()", setup) == "0\n"


def test_a_lock_that_the_forking_thread_holds_stays_its_own() -> None:
    assert in_child("lock.__exit__(); lock.__enter__(); lock.__exit__()", "lock = RenewedLock(); lock.__enter__()") == (
        "0\n"
    )


def test_a_renewed_lock_excludes_other_threads() -> None:
    lock, order = RenewedLock(), []

    def other() -> None:
        with lock:
            order.append("other")

    with lock, lock:
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_a_fork_waits_until_other_threads_are_out_of_an_engine() -> None:
    entered, left = threading.Event(), []

    def run() -> None:
        with within_engine():
            entered.set()
            time.sleep(0.2)
            left.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    entered.wait()
    process = os.fork()
    if process == 0:
        os._exit(len(left))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1
    thread.join()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells what threads do")
def test_threads_that_compute_are_seen() -> None:
    content, stop = bytes(1_000_000), threading.Event()

    def compute() -> None:
        while not stop.is_set():
            hashlib.sha256(content)  # without the interpreter's lock

    thread = threading.Thread(target=compute)
    thread.start()
    seen = wait_until(is_any_running)
    stop.set()
    thread.join()
    assert seen
    assert wait_until(lambda: not is_any_running())


def wait_until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.001)
    return False


def test_a_thread_in_an_engine_may_fork_itself() -> None:
    with within_engine(), within_engine():
        process = os.fork()
        if process == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_forks_beside_calls_that_other_threads_make(device: str, tmp_path: Path) -> None:
    if device == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system, or is not installed")
    bundle = write_bundle(tmp_path / "bundle")
    program = f"""
        import os, signal, sys, threading, warnings
        from edgepipe import pipeline
        warnings.simplefilter("ignore")
        classify = pipeline(model=sys.argv[1], num_threads=2, device=sys.argv[2], dtype="fp32")
        texts = ["a b c"] * 4
        expected = classify(texts)
        def call():
            while True:
                classify(texts)
        for _ in range(4):
            threading.Thread(target=call, daemon=True).start()
        statuses = set()
        for _ in range({FORKS}):
            process = os.fork()
            if process == 0:
                signal.alarm(30)
                os._exit(0 if classify(texts) == expected else 3)
            statuses.add(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        print(statuses, flush=True)
        os._exit(0)
    """
    assert run_python(program, str(bundle), device) == "{0}\n"


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_child_ends_as_any_process(device: str, tmp_path: Path) -> None:
    if device == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system, or is not installed")
    program = """
        import os, signal, sys, warnings
        from edgepipe import pipeline
        warnings.simplefilter("ignore")
        classify = pipeline(model=sys.argv[1], num_threads=2, device=sys.argv[2], dtype="fp32")
        expected = classify(["a b c"] * 4)
        process = os.fork()
        if process == 0:
            signal.alarm(30)
            sys.exit(7 if classify(["a b c"] * 4) == expected else 3)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    """
    assert run_python(program, str(write_bundle(tmp_path / "bundle")), device) == "7\n"
