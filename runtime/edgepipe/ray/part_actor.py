"""What Ray runs on the nodes: an actor that loads the bundle once, and makes the parts that it is sent."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

import edgepipe
from edgepipe import errors
from edgepipe.errors import DependencyError, EdgepipeError
from edgepipe.mapping.part_worker import PartReport, PartWorker, WorkerSettings, load_worker
from edgepipe.ray.shipped_bundle import ShippedBundle, unpack_bundle

# The column of the parts' numbers, and that of what came of them.
NUMBER, REPORT = "number", "report"


@dataclass(frozen=True)
class ActorSettings:
    """What an actor has to know.

    Attributes:
        worker: What it loads.
        version: That of edgepipe where the job was planned.
        shipped: The bundle, where it is not in storage that all nodes have.
    """

    worker: WorkerSettings
    version: str
    shipped: ShippedBundle | None = None


class PartActor:
    """Makes parts of a job, as Ray Data asks a callable class.

    What it raises on purpose comes back as a report: an exception would have Ray make the actor again.

    Args:
        settings: What it loads.
    """

    def __init__(self, settings: ActorSettings) -> None:
        warnings.simplefilter("ignore", UserWarning)  # the process that planned the job said it
        self._worker: PartWorker | None = None
        self._error: EdgepipeError | None = None
        try:
            self._worker = _load(settings)
        except EdgepipeError as error:
            self._error = error

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Make the parts of a batch.

        Args:
            batch: Their numbers.

        Returns:
            The report of each, as :func:`read_report` reads it.
        """
        reports: list[str] = []
        try:
            if self._worker is None:
                assert self._error is not None, "there is one of them"
                raise self._error
            parts = self._worker.job.parts
            wanted = [parts[int(number)] for number in batch[NUMBER]]
            reports.extend(json.dumps(asdict(report)) for report in self._worker.run(wanted))
        except EdgepipeError as error:
            reports.append(json.dumps({"error_class": type(error).__name__, "message": str(error)}))
        return pa.table({REPORT: pa.array(reports, pa.string())})


def read_report(text: str) -> PartReport:
    """What an actor tells of a part.

    Raises:
        EdgepipeError: what it raised.
    """
    record = json.loads(text)
    if "message" in record:
        raise _find_class(record["error_class"])(record["message"])
    return PartReport(**record)


def _find_class(name: str) -> type[EdgepipeError]:
    """The class of an error by its name; of one that is not in the tree itself its root."""
    found = getattr(errors, name, EdgepipeError)
    return found if isinstance(found, type) and issubclass(found, EdgepipeError) else EdgepipeError


def _load(settings: ActorSettings) -> PartWorker:
    if settings.version != edgepipe.__version__:
        raise DependencyError(
            f"a node of the cluster has edgepipe {edgepipe.__version__}, and the job was planned by "
            f"{settings.version}; install one version everywhere"
        )
    worker = settings.worker
    if settings.shipped is not None:
        worker = replace(worker, bundle=str(unpack_bundle(settings.shipped)))
    return load_worker(worker)
