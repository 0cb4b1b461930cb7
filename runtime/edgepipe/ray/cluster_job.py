"""A job of ``edgepipe map`` on a Ray cluster: the same plan and the same files, made by a pool of actors."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import edgepipe
from edgepipe.bundle.directory import Bundle
from edgepipe.errors import InputError
from edgepipe.mapping.job import Job, Part
from edgepipe.mapping.part_worker import PartReport, WorkerSettings
from edgepipe.mapping.run_job import MapReport, run_job, split_session
from edgepipe.mapping.sources.storage import is_local, local_path
from edgepipe.ray.cluster import AUTO, connect, describe_failure
from edgepipe.ray.part_actor import NUMBER, REPORT, ActorSettings, PartActor, read_report
from edgepipe.ray.ray_module import load_ray
from edgepipe.ray.shipped_bundle import ship_bundle

# Tasks of a job; where there are more parts, a task has several in a row.
_MOST_TASKS = 10_000

# How often a part is made anew when its actor or node dies. One that ends its actor each time ends the job.
_RETRIES = 4


@dataclass(frozen=True)
class ClusterOptions:
    """How a cluster is used.

    Attributes:
        address: ``"HOST:PORT"``, or ``"auto"`` for the cluster that ``RAY_ADDRESS`` names or
            that runs on this machine; where there is none, one is started, and stopped in the end.
        least_actors: Actors that are started at once.
        most_actors: Actors that there may be; None for as many as the cluster has room for.
        gpus: Of an actor, a share of one too. None for one where the device is CUDA, else none.
        ship: Whether nodes get the bundle through Ray; else each has it at the same path.
    """

    address: str = AUTO
    least_actors: int = 1
    most_actors: int | None = None
    gpus: float | None = None
    ship: bool = False

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: they cannot be used.
        """
        most = self.most_actors
        if self.least_actors < 1 or (most is not None and most < self.least_actors):
            raise InputError(f"a pool of {self.least_actors} to {most} actors cannot be; begin with one or more")


def read_actors(text: str) -> tuple[int, int | None]:
    """``"4"``, ``"1:4"`` or, without an upper bound, ``"1:"`` as the least and the most actors.

    Raises:
        InputError: it is something else.
    """
    least, colon, most = text.partition(":")
    if not least.isdigit() or not (most.isdigit() or not most):
        raise InputError(f"the actors are N, MIN:MAX or MIN:, e.g. 1:16, got {text!r:.40}")
    if not colon:
        return int(least), int(least)
    return int(least), int(most) if most else None


def map_on_cluster(
    bundle: str | os.PathLike[str],
    data: Any,
    output: str | os.PathLike[str],
    *,
    cluster: ClusterOptions | None = None,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> MapReport:
    """Run a bundle over files on a Ray cluster, into files.

    The parts are those that one machine makes, byte for byte, and either goes on with what the other began.

    Args:
        bundle: A directory or Hub id. It is loaded here too, to plan the job.
        data: Files that all nodes reach by the same names.
        output: A folder or file there.
        cluster: Which cluster, and how much of it.
        tell: Is told what else is to be known, e.g. that a cluster was started.
        **options: Of :func:`edgepipe.map_dataset` with an output. An actor has ``num_threads`` processors for each of
            its ``workers``; by default one.

    Raises:
        DependencyError: Ray is missing, or a node has other versions.
        DeviceError: no cluster answers.
        EdgepipeError: see :func:`edgepipe.map_dataset`.
    """
    cluster = cluster or ClusterOptions()
    if options.get("processes") is not None:
        raise InputError("on a cluster there are actors, and no processes; leave --processes out")
    session, _ = split_session(options)
    path, target = os.fspath(bundle), os.fspath(output)
    path = os.path.abspath(path) if os.path.exists(path) else path
    name = target
    if is_local(target):  # other processes have other working directories
        target = str(local_path(target)) + ("/" if target.endswith("/") else "")
    how = ""

    with connect(cluster.address, tell or (lambda message: None)), ExitStack() as running:

        def run_parts(settings: WorkerSettings, job: Job, missing: Sequence[Part]) -> Iterator[PartReport]:
            nonlocal how
            pool = _Pool(replace(settings, session=_actor_session(session, job)), job, cluster)
            how = pool.describe()
            return running.enter_context(closing(pool.run(missing)))  # before the connection, whatever ends the job

        report = run_job(path, data, target, run_parts=run_parts, **options)
    return replace(report, output=name, execution=how)


def _actor_session(session: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """What an actor loads the bundle with: the job's variant, and its own threads."""
    return {"num_threads": 1, "workers": 1, **session, "dtype": job.identity.dtype}


class _Pool:
    """The actors of a job."""

    def __init__(self, settings: WorkerSettings, job: Job, cluster: ClusterOptions) -> None:
        self._settings, self._job, self._cluster = settings, job, cluster
        session = settings.session
        self._cpus = int(session["num_threads"]) * int(session["workers"])
        on_cuda = str(session.get("device") or "").startswith(("cuda", "tensorrt"))
        self._gpus = float(on_cuda) if cluster.gpus is None else cluster.gpus

    def describe(self) -> str:
        """In words."""
        size = self._job.identity.batch_size
        batch = "one text at a time" if size == 1 else f"batches of up to {size}"
        most = "" if self._cluster.most_actors is None else f" to {self._cluster.most_actors}"
        more = " or more" if self._cluster.most_actors is None else ""
        gpus = f", {self._gpus:g} GPUs" if self._gpus else ""
        return f"{batch}, on Ray: {self._cluster.least_actors}{most}{more} actors of {self._cpus} CPUs{gpus}"

    def run(self, missing: Sequence[Part]) -> Generator[PartReport, None, None]:
        """Make parts; the report of each when Ray has it.

        Raises:
            EdgepipeError: what an actor raises; or Ray ends the work.
        """
        if not missing:
            return
        ray, data = load_ray(), load_ray("data")
        _warn_of_small_nodes(ray, self._cpus, self._gpus)
        shipped = None
        if self._cluster.ship:
            bundle = Bundle.load(self._settings.bundle, dtype=self._job.identity.dtype)
            shipped = ship_bundle(bundle, self._job.identity.dtype)
        settings = ActorSettings(self._settings, edgepipe.__version__, shipped)
        tasks = min(len(missing), _MOST_TASKS)
        with _quiet(data):
            rows = data.from_items([{NUMBER: part.number} for part in missing], override_num_blocks=tasks)
            reports = rows.map_batches(
                PartActor,
                fn_constructor_args=(settings,),
                batch_size=-(-len(missing) // tasks),
                batch_format="numpy",
                compute=data.ActorPoolStrategy(min_size=self._cluster.least_actors, max_size=self._cluster.most_actors),
                num_cpus=self._cpus,
                num_gpus=self._gpus,
                max_task_retries=_RETRIES,
            )
            batches = iter(reports.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
            try:
                for batch in batches:
                    for text in batch.column(REPORT).to_pylist():
                        yield read_report(text)
            except ray.exceptions.RayError as error:
                raise describe_failure(error) from error
            finally:
                batches.close()  # it would ask Ray later, which starts a cluster then where there is no connection
        self._job.folder.remove_leftovers()  # of actors that were killed


def _warn_of_small_nodes(ray: Any, cpus: int, gpus: float) -> None:
    """Ray waits for a node that is large enough, and says nothing: a cluster that grows may get one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        has = max((node.get("CPU", 0) for node in nodes), default=0)
        warnings.warn(
            f"no node of the cluster has {cpus} CPUs and {gpus:g} GPUs for an actor (the largest has {has:g} CPUs): "
            "Ray waits until one does; take fewer --threads or --workers",
            stacklevel=2,
        )


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Keep Ray Data's bars and lines off the terminal: there is a bar already. Its own files have them."""
    context = data.DataContext.get_current()
    names = ("enable_progress_bars", "print_on_execution_start")
    before = {name: getattr(context, name) for name in names if hasattr(context, name)}
    handlers = [each for each in logging.getLogger("ray.data").handlers if "File" not in type(each).__name__]
    levels = [each.level for each in handlers]
    for name in before:
        setattr(context, name, False)
    for each in handlers:
        each.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of options that Ray 2.64 will not take any more
            yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for each, level in zip(handlers, levels, strict=True):
            each.setLevel(level)
