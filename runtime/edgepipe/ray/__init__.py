"""edgepipe on a Ray cluster: jobs and batches on Ray Data, the server on Ray Serve.

::

    import ray
    from edgepipe.ray import Predictor

    ray.data.read_parquet("texts/").map_batches(
        Predictor, fn_constructor_kwargs={"bundle": "path/to/bundle"}, batch_format="pyarrow", concurrency=4, num_cpus=1
    ).write_parquet("out/")

Importing this package imports nothing of Ray; its parts do when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepipe.ray.cluster_job import ClusterOptions, map_on_cluster
    from edgepipe.ray.deployment import build_app
    from edgepipe.ray.predictor import Predictor
    from edgepipe.ray.processor import BundleProcessor, ProcessorConfig, build_processor

__all__ = [
    "BundleProcessor",
    "ClusterOptions",
    "Predictor",
    "ProcessorConfig",
    "build_app",
    "build_processor",
    "map_on_cluster",
]

_MODULES = {
    "BundleProcessor": "edgepipe.ray.processor",
    "ClusterOptions": "edgepipe.ray.cluster_job",
    "Predictor": "edgepipe.ray.predictor",
    "ProcessorConfig": "edgepipe.ray.processor",
    "build_app": "edgepipe.ray.deployment",
    "build_processor": "edgepipe.ray.processor",
    "map_on_cluster": "edgepipe.ray.cluster_job",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of the package

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            value = getattr(import_module(_MODULES[name]), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
