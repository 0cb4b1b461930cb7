"""uvicorn with the application: in this process, or in several that share a socket and are replaced when they die."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess

from edgepipe.errors import InputError, Terminated
from edgepipe.serve.app import create_app
from edgepipe.serve.connection import Connection
from edgepipe.serve.observability.metrics import MULTIPROCESS_FOLDER
from edgepipe.serve.observability.request_log import JsonFormatter
from edgepipe.serve.settings import ServeSettings

_log = logging.getLogger("edgepipe.serve")

# Seconds that requests have to be answered once the server is told to end.
DRAIN = 60

# Connections that the system holds until they are taken.
_BACKLOG = 2048


def serve(
    settings: ServeSettings, host: str, port: int, *, workers: int = 1, tls: tuple[Path, Path] | None = None
) -> int:
    """Serve until a signal ends it; returns the exit status.

    SIGTERM and SIGINT: what was taken is answered, up to :data:`DRAIN` seconds. SIGHUP: bundles are loaded again.

    Args:
        settings: What is served.
        host: The address to listen at.
        port: The port; 0 for any that is free, which the log has.
        workers: Processes.
        tls: Files of a certificate and its key, in PEM.

    Raises:
        InputError: the address cannot be had.
    """
    options: dict[str, Any] = {
        "http": Connection,
        "timeout_graceful_shutdown": DRAIN,
        "timeout_keep_alive": 30,
        "backlog": _BACKLOG,
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "lifespan": "on",
        "ws": "none",
    }
    if tls is not None:
        options |= {"ssl_certfile": tls[0], "ssl_keyfile": tls[1]}
    listener = bind(host, port, settings.limits.read)
    where = listener.getsockname()
    _configure_log(settings.log_format)
    scheme = "https" if tls else "http"
    _log.info("listening at %s://%s:%d", scheme, where[0], where[1], extra={"record": {"port": where[1]}})
    factory = _AppFactory(settings)
    if workers == 1:
        server = uvicorn.Server(uvicorn.Config(factory(), **options))
        try:
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(_load_and_serve(server, listener))
        except (Terminated, KeyboardInterrupt):  # uvicorn raises the signal again that has ended it
            if not server.started:
                raise
        return 0
    with tempfile.TemporaryDirectory(prefix="edgepipe-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER] = folder
        config = uvicorn.Config(factory, factory=True, workers=workers, **options)
        supervisor = _Supervisor(config, sockets=[listener])
        supervisor.run()
    return 1 if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes) else 0


async def _load_and_serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Load the models before anything else: what fails is raised, and not logged by uvicorn."""
    app: Any = server.config.app
    await app.state.repository.load_all()
    await server.serve(sockets=[listener])


def bind(host: str, port: int, seconds: float) -> socket.socket:
    """A socket that listens.

    Args:
        host: The address.
        port: The port.
        seconds: After so long without a byte being taken, a connection that has something to take is dropped.

    Raises:
        InputError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(f"{host}:{port} cannot be listened at ({error}); pass another --host or --port") from error
    listener.set_inheritable(True)
    return listener


class _AppFactory:
    """Makes the application in the process that runs it."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings

    def __call__(self) -> Any:
        _configure_log(self._settings.log_format)
        Connection.seconds = self._settings.limits.read
        return create_app(self._settings)


class _Supervisor(Multiprocess):
    """Starts processes, and others for those that die; a SIGHUP goes to all of them."""

    def handle_hup(self) -> None:
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)


def _configure_log(log_format: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter() if log_format == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    for name in ("edgepipe.serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO if name != "uvicorn" else logging.WARNING)
        logger.propagate = False
