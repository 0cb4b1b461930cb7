"""A connection to a Ray cluster, which ends as it began: what was there before is there afterwards."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgepipe.backend.threads import available_threads
from edgepipe.errors import DependencyError, DeviceError, EdgepipeError, InputError, first_line
from edgepipe.ray.ray_module import load_ray

# The address of a cluster that runs on this machine, or that the variable names.
AUTO = "auto"

# The variable that Ray itself reads.
_VARIABLE = "RAY_ADDRESS"

# Of Ray's core, which is no Python.
_LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"
_STDERR = 2

# Seconds in which a cluster answers, or is not there. Ray itself tries for minutes.
_SECONDS = 5.0

# How a connection of HTTP/2 begins, which gRPC uses, and the kind of the frame that the server answers with: RFC 9113,
# section 3.4.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = b"\4"


@contextmanager
def connect(address: str, tell: Callable[[str], None]) -> Iterator[Any]:
    """Ray, connected; a connection that the caller has already is used, and stays.

    Args:
        address: ``"HOST:PORT"``, or ``"auto"`` for the cluster that ``RAY_ADDRESS`` names
            or that runs on this machine. Where there is none, one is started, and stopped in the end.
        tell: Is told when one is started.

    Raises:
        DependencyError: Ray is missing, or cluster and client have other versions of Ray or Python.
        DeviceError: no cluster answers.
        InputError: the address is none.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    if address == AUTO:
        address = os.environ.get(_VARIABLE) or AUTO
    if address != AUTO:
        check_answers(address)
    before = _signal_handler()
    try:
        _connect(ray, address, tell)
    finally:
        _restore_handler(before)  # Ray's own would end the process with another status
    try:
        yield ray
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Make sure that a server of gRPC, as Ray's are, answers at an address.

    Raises:
        DeviceError: none does.
        InputError: it is no address.
    """
    if address.startswith("ray://"):
        raise InputError(
            f"{address} is for Ray's client, through which Ray Data does not run; start the command on a node: ray job "
            "submit --address http://HEAD:8265 -- edgepipe map ..."
        )
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536) or "/" in host:
        raise InputError(
            f"{address!r} is no address of a Ray cluster; give HOST:PORT or auto. An address stands "
            "directly behind --ray; without one put --ray behind OUT"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS) as stream:
            if not _uses_tls():
                stream.sendall(_GREETING)
                found = stream.recv(9)
                if found[3:4] != _SETTINGS:
                    raise _silent_error(address, "something else does")
    except OSError as error:
        raise _silent_error(address, error.strerror or first_line(error)) from error


def describe_failure(error: BaseException) -> EdgepipeError:
    """What ends the work of a cluster, as an error of ours."""
    lines = " ".join(str(error).split())
    if "No module named 'edgepipe" in lines:
        return DependencyError(
            "a node of the cluster lacks edgepipe; install the same edgepipe[ray] and engine on every node"
        )
    return EdgepipeError(
        f"Ray ended the work: {type(error).__name__}: {first_line(error):.300}; its logs are in /tmp/ray on the nodes"
    )


def _connect(ray: Any, address: str, tell: Callable[[str], None]) -> None:
    options = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with _quiet_core():
            ray.init(address=address, **options)
    except ConnectionError as error:
        if address != AUTO:
            raise _silent_error(address, first_line(error)) from error
        tell("no Ray cluster runs here; one is started on this machine, and stopped in the end")
        with _quiet_core():
            ray.init("local", num_cpus=available_threads(), include_dashboard=False, **options)
    except RuntimeError as error:
        ray.shutdown()
        lines = " ".join(str(error).split())
        if "ersion mismatch" in lines:
            raise DependencyError(
                f"the cluster at {address} has other versions: {lines}; install its versions of Ray and Python here"
            ) from error
        raise _silent_error(address, first_line(error)) from error
    except ValueError as error:
        raise InputError(f"{address!r} cannot be connected to: {first_line(error)}; give HOST:PORT") from error


def _silent_error(address: str, reason: str) -> DeviceError:
    return DeviceError(
        f"no Ray cluster answers at {address} ({reason}); start one with: ray start --head, and give its address as "
        "HOST:PORT"
    )


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Have Ray's core be silent from its start on: what it has to say comes back as exceptions, too.

    Ray Data's own actors make it print an error (Ray's issue 53727). That its level was set it prints likewise, so that
    standard error is closed to it meanwhile.
    """
    before = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = before or "fatal"
    try:
        kept = os.dup(_STDERR)
    except OSError:  # it is closed already
        kept = None
    try:
        if kept is not None:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        if kept is not None:
            os.dup2(kept, _STDERR)
            os.close(kept)
        if before is None:
            del os.environ[_LOG_LEVEL]


def _uses_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _signal_handler() -> Any:
    return signal.getsignal(signal.SIGTERM) if threading.current_thread() is threading.main_thread() else None


def _restore_handler(handler: Any) -> None:
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)
