"""The models by their names: loaded, unloaded, and exchanged for what lies on the disk now, without a lost request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from edgepipe.errors import EdgepipeError
from edgepipe.serve.call import RefusedError
from edgepipe.serve.observability.metrics import ServerMetrics
from edgepipe.serve.served_model import ServedModel, load_model
from edgepipe.serve.settings import ServedBundle, ServeSettings

_log = logging.getLogger("edgepipe.serve")


class Repository:
    """The models of a server.

    Attributes:
        settings: How the server was started.
        metrics: What it counts.
        failures: Why a model that is known is not there, by its name.
    """

    def __init__(self, settings: ServeSettings, metrics: ServerMetrics) -> None:
        """Begin without models; :meth:`load_all` loads them."""
        self.settings = settings
        self.metrics = metrics
        self.failures: dict[str, str] = {}
        self._known = {bundle.name: bundle for bundle in settings.bundles}
        self._models: dict[str, ServedModel] = {}
        self._changes = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self.draining = False

    @property
    def names(self) -> tuple[str, ...]:
        """All models that are known, those that are not loaded included."""
        return tuple(self._known)

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """The models that answer."""
        return self._models

    @property
    def is_ready(self) -> bool:
        """Whether every model that was asked for at the start answers."""
        return not self.draining and bool(self._models) and not self.failures

    def get(self, name: str | None = None) -> ServedModel:
        """A model by its name; the first without one.

        Raises:
            RefusedError: there is none.
        """
        if name is None:
            if self._models:
                return next(iter(self._models.values()))
            raise RefusedError(503, "no model is loaded")
        model = self._models.get(name)
        if model is not None:
            return model
        if name in self.failures:
            raise RefusedError(503, f"the model {name!r:.80} is not loaded: {self.failures[name]}")
        if name in self._known:
            raise RefusedError(503, f"the model {name!r:.80} is not loaded; load it first")
        raise self._unknown_error(name)

    async def load_all(self) -> None:
        """Load every model that was asked for.

        Raises:
            EdgepipeError: one cannot be loaded, or fails its probes.
        """
        for name in self._known:
            await self.load(name)

    async def load(self, name: str) -> ServedModel:
        """Load a model, or load it again: the old one answers until the new one has passed its check.

        Raises:
            RefusedError: no such model is known.
            EdgepipeError: it cannot be loaded, or fails its probes. What was loaded stays.
        """
        if name not in self._known:
            raise self._unknown_error(name)
        async with self._changes:
            bundle, before = self._known[name], self._models.get(name)
            try:
                model = await asyncio.to_thread(self._load, bundle, before is not None)
            except EdgepipeError as error:
                if before is None:
                    self.failures[name] = str(error)
                _log.error("%s was not loaded: %s", name, error)
                raise
            loaded = {**self._models, name: model}
            # In their order: the first answers who names none, also when it was unloaded and is back.
            self._models = {each: loaded[each] for each in self._known if each in loaded}
            self.failures.pop(name, None)
            _log.info("%s: %s in %s, %s", name, model.task.name, model.dtype, model.plan)
            if before is not None:
                self._close_later(before)
            return model

    async def reload_all(self) -> list[str]:
        """Take up what lies on the disk now; returns the names of models that could not be, and stay as they were."""
        failed = []
        for name in list(self._models):
            try:
                await self.load(name)
            except EdgepipeError:
                failed.append(name)
        return failed

    async def unload(self, name: str) -> None:
        """Let a model go, when it has answered what it has.

        Raises:
            RefusedError: it is not there.
        """
        async with self._changes:
            model = self.get(name)
            del self._models[name]
            self._close_later(model)

    async def close(self) -> None:
        """Take no more, and return when everything has its answer."""
        self.draining = True
        models, self._models = self._models, {}
        for model in models.values():
            await asyncio.to_thread(model.close)
        await asyncio.gather(*self._closing)

    def _unknown_error(self, name: str) -> RefusedError:
        return RefusedError(404, f"there is no model {name!r:.80}; those here are {', '.join(self._known)}")

    def _load(self, bundle: ServedBundle, again: bool) -> ServedModel:
        session: dict[str, Any] = dict(self.settings.session)
        if again and session.get("verify", "first") == "first":
            session["verify"] = "always"
        return load_model(bundle, session, self.settings.limits, self.metrics.observe(bundle.name))

    def _close_later(self, model: ServedModel) -> None:
        closing = asyncio.create_task(asyncio.to_thread(model.close))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
