"""The server on Ray Serve: its application in replicas, with one process's protocols, batches and limits in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepipe.bundle.directory import Bundle
from edgepipe.errors import DependencyError, InputError
from edgepipe.ray.ray_module import load_ray

# Requests that a replica takes at once. The scheduler makes batches of them; Ray's own 5 would starve it.
ONGOING = 256

# Seconds that a replica has to answer what it has taken when it is told to end.
DRAIN = 60.0


def build_app(
    *bundles: str,
    num_replicas: int | str = 1,
    autoscaling_config: Mapping[str, Any] | None = None,
    num_cpus: int = 1,
    num_gpus: float = 0,
    max_ongoing_requests: int = ONGOING,
    max_num_models_per_replica: int | None = None,
    keys: Sequence[str] = (),
    limits: Any = None,
    deployment_options: Mapping[str, Any] | None = None,
    **session: Any,
) -> Any:
    """An application for ``serve.run``: the routes of ``edgepipe serve``, streams included, in replicas.

    ::

        from ray import serve
        from edgepipe.ray import build_app

        serve.run(build_app("mood=/bundles/mood", num_replicas=4))
        serve.run(build_app("mood=/bundles/mood-2", num_replicas=4))  # replica by replica

    Args:
        *bundles: ``NAME=PATH`` or ``PATH``; every node has it there. Or Hub ids.
        num_replicas: How many.
        autoscaling_config: How many, by what is asked; see Ray. In place of `num_replicas`.
        num_cpus: Processors of a replica, and its threads.
        num_gpus: GPUs of a replica.
        max_ongoing_requests: Requests that a replica takes at once.
        max_num_models_per_replica: With it bundles are multiplexed: a replica loads the one that the header
            ``serve_multiplexed_model_id`` of a request names when it is asked for, and has so many at most. Without it
            each replica has all.
        keys: Keys of which a request must have one.
        limits: What clients get, an ``edgepipe.serve.settings.Limits``.
        deployment_options: More of Ray's ``@serve.deployment``, e.g. ``health_check_period_s``.
        **session: Arguments of :func:`edgepipe.pipeline`: ``dtype``, ``device`` and others.

    Returns:
        A ``ray.serve.Application``.

    Raises:
        DependencyError: Ray, or a package of the server, is missing.
        InputError: no bundle is named, or two have one name.
    """
    serve = load_ray("serve")
    try:
        from edgepipe.ray.replica_app import MultiplexedApp, ReplicaApp
        from edgepipe.serve.settings import Limits, ServeSettings, name_bundles
    except ImportError as error:
        raise DependencyError(f"a server needs more packages ({error}); pip install 'edgepipe[ray]'") from error
    if not bundles:
        raise InputError("no bundle is named that could be served; give NAME=PATH")
    settings = ServeSettings(
        name_bundles(bundles), {"num_threads": num_cpus, **session}, limits or Limits(), tuple(keys)
    )
    paths = [bundle.path for bundle in settings.bundles]
    options: dict[str, Any] = {
        "name": "edgepipe",
        "max_ongoing_requests": max_ongoing_requests,
        "graceful_shutdown_timeout_s": DRAIN,
        "ray_actor_options": {"num_cpus": num_cpus, "num_gpus": num_gpus},
        **(deployment_options or {}),
    }
    if autoscaling_config is None:
        options["num_replicas"] = num_replicas
    else:
        options["autoscaling_config"] = dict(autoscaling_config)

    class Replica:
        """What Ray makes; the application answers."""

        def __init__(self) -> None:
            for path in paths:  # what is missing is said in the status of the deployment, and not in a log alone
                Bundle.load(path)

    if max_num_models_per_replica is None:
        ingress = serve.ingress(ReplicaApp(settings))(Replica)
    else:
        app = MultiplexedApp(settings)

        class MultiplexedReplica(Replica):
            """A replica that loads what is asked for."""

            @serve.multiplexed(max_num_models_per_replica=max_num_models_per_replica)  # type: ignore[untyped-decorator]
            async def load_bundle(self, name: str) -> Any:
                return await app.load(name)

        ingress = serve.ingress(app)(MultiplexedReplica)
    return serve.deployment(**options)(ingress).bind()
