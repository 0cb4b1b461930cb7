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
