"""A Ray cluster of three nodes on this machine, and what runs on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepipe.mapping.run_job import run_job
from tests.runtime.ray.cluster_processes import join
from tests.runtime.small_bundle import write_bundle

# Rows of a part, and parts: enough that a job is in its middle when something is killed. A long text in each part takes
# some hundredths of a second, of which the model reads the beginning.
PART_ROWS, PARTS = 8, 120


@pytest.fixture(scope="session")
def node_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nodes keep what they are sent."""
    return tmp_path_factory.mktemp("cache")


def set_environment(patch: pytest.MonkeyPatch, node_cache: Path) -> None:
    """What processes of the cluster inherit, and those that join it."""
    patch.setenv("EDGEPIPE_CACHE", str(node_cache))
    patch.delenv("RAY_ADDRESS", raising=False)
    for what in ("READY", "HEALTH"):  # seconds; other tests run beside these
        patch.setenv(f"RAY_SERVE_PROXY_{what}_CHECK_TIMEOUT_S", "120")


@pytest.fixture(autouse=True)
def _environment(node_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, node_cache)


@pytest.fixture(scope="package")
def cluster(node_cache: Path) -> Iterator[Any]:
    """Three nodes with a processor each; the head is one of them."""
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:  # only while they start: other packages' tests run before the end
        set_environment(patch, node_cache)
        found = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "include_dashboard": False,
                "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 4},
                **store,
            },
        )
        for _ in range(2):
            found.add_node(num_cpus=1, **store)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def connected(cluster: Any) -> Iterator[None]:
    """This process has joined the cluster."""
    with join(cluster):
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that takes next to no time."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "mood")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a job: short and long texts, and some without one."""
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.jsonl", 6_000)


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory, bundle: Path, texts: Path) -> dict[str, bytes]:
    """What one process writes of these rows."""
    folder = tmp_path_factory.mktemp("expected") / "out"
    run_job(str(bundle), str(texts), str(folder), part_rows=PART_ROWS)
    return read_folder(folder)


def write_texts(file: Path, most_words: int) -> Path:
    """Write rows of which one in a part has so many words."""
    words = ("good", "bad", "fine", "a movie that nobody has to see", "great acting")
    with file.open("w", encoding="utf-8") as stream:
        for number in range(PART_ROWS * PARTS):
            count = number % 40 if number % PART_ROWS else most_words
            text = " ".join([words[number % 5], *["again"] * count]) if number % 31 else None
            stream.write(json.dumps({"id": number, "text": text}) + "\n")
    return file


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
