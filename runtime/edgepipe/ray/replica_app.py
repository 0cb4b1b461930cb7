"""The server's application as a replica of Ray Serve runs it: with all bundles, or with those that are asked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from edgepipe.errors import EdgepipeError
from edgepipe.ray.ray_module import load_ray
from edgepipe.serve.app import create_app
from edgepipe.serve.endpoint import json_response
from edgepipe.serve.settings import ServeSettings

# Who asks, for all that a replica knows. Routes that change what is served are for a server's own machine: a replica
# that changes alone would answer otherwise than the others.
_CLIENT = ("ray-serve", 0)


class ReplicaApp:
    """The application of a replica that has all bundles. It is made where it runs.

    Args:
        settings: See :func:`create_app`.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if self._app is None:
            self._app = create_app(self._settings)
        await self._app(hide_client(scope), receive, send)


class MultiplexedApp:
    """The application of a replica that loads bundles when they are asked for.

    Args:
        settings: See :func:`create_app`.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._known = {bundle.name: bundle for bundle in settings.bundles}

    async def load(self, name: str) -> LoadedBundle:
        """Load a bundle.

        Raises:
            EdgepipeError: it cannot be loaded, or fails its probes.
        """
        app = create_app(replace(self._settings, bundles=(self._known[name],)))
        await app.state.repository.load_all()
        return LoadedBundle(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the bundle that the request names; with the first where it names none."""
        if scope["type"] == "lifespan":
            await _answer_lifespan(receive, send)
            return
        serve = load_ray("serve")
        name = serve.get_multiplexed_model_id() or next(iter(self._known))
        if name not in self._known:
            error = f"there is no model {name!r:.80}; those here are {', '.join(self._known)}"
            await json_response({"error": error}, 404)(scope, receive, send)
            return
        try:
            loaded = await serve.get_replica_context().servable_object.load_bundle(name)
        except EdgepipeError as error:
            await json_response({"error": f"the model {name} cannot be loaded: {error}"}, 503)(scope, receive, send)
            return
        await loaded.answer(hide_client(scope), receive, send)


class LoadedBundle:
    """A bundle with its routes. Ray lets it go for another one; its model is closed when the last answer is complete.

    Args:
        app: The application with this bundle alone.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._answering = 0
        self._let_go = False

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        self._answering += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._answering -= 1
            if self._let_go and not self._answering:
                await asyncio.to_thread(self._close)

    def __del__(self) -> None:
        """Let it go; Ray calls this in a thread when another bundle takes its place."""
        self._let_go = True
        if not self._answering:
            self._close()

    def _close(self) -> None:
        for model in self._app.state.repository.models.values():
            model.close()


def hide_client(scope: Scope) -> Scope:
    """A request without the address of who asks."""
    return {**scope, "client": _CLIENT} if scope["type"] == "http" else scope


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    message: Any = await receive()
    assert message["type"] == "lifespan.startup", "it comes first"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
