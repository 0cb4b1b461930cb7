"""Ray is imported late, and missed clearly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.runtime.processes import run_python
from tests.runtime.ray.cluster_processes import join


def test_importing_the_room_imports_nothing_of_ray() -> None:
    program = """
        import sys
        import edgepipe.ray.cluster_job, edgepipe.ray.predictor, edgepipe.ray.processor, edgepipe.ray.deployment
        print([name for name in sys.modules if name.partition(".")[0] == "ray"])
    """
    assert run_python(program).strip() == "[]"


def test_without_ray_the_message_names_the_extra() -> None:
    program = """
        import json
        from edgepipe.errors import DependencyError
        from edgepipe.ray import build_app, build_processor, map_on_cluster, ProcessorConfig
        calls = (
            lambda: map_on_cluster("bundle", "in.jsonl", "out"),
            lambda: build_processor(ProcessorConfig("bundle"))(None),
            lambda: build_app("bundle"),
        )
        found = []
        for call in calls:
            try:
                call()
            except DependencyError as error:
                found.append(str(error))
        print(json.dumps(found))
    """
    found = json.loads(run_python(program, blocked=("ray",)))
    assert len(found) == 3
    assert all("pip install 'edgepipe[ray]'" in message for message in found)


def test_outside_of_an_actor_nothing_is_assigned() -> None:
    pytest.importorskip("ray")
    from edgepipe.ray.ray_module import assigned_cpus

    assert assigned_cpus() is None


def test_a_task_knows_its_processors(cluster: Any) -> None:
    import ray

    from edgepipe.ray.ray_module import assigned_cpus

    with join(cluster):
        assert assigned_cpus() is None
        assert ray.get(ray.remote(num_cpus=1)(assigned_cpus).remote()) == 1
