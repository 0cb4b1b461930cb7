"""A job on a cluster of three nodes: what dies, what is added, and what comes of it."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepipe.errors import BundleError, InputError
from edgepipe.mapping.run_job import MapReport, run_job
from edgepipe.ray import ClusterOptions, map_on_cluster
from edgepipe.ray.cluster_job import read_actors
from tests.runtime.ray.cluster_processes import find_actors, find_nodes, is_running, join, kill, wait_until
from tests.runtime.ray.conftest import PART_ROWS, PARTS, read_folder, write_texts
from tests.runtime.small_bundle import write_bundle

ray = pytest.importorskip("ray")

Show = Callable[[str, int, int], None]


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    """What is left of a job that failed must not ask Ray later, which would start a cluster."""
    yield
    gc.collect()
    assert not ray.is_initialized()


class StopError(Exception):
    """Ends a job in its middle."""


def run(cluster: Any, bundle: Path, texts: Path, out: Path, show: Show | None = None, **options: Any) -> MapReport:
    how = {name: options.pop(name) for name in ("ship", "least_actors", "most_actors") if name in options}
    return map_on_cluster(
        bundle, texts, out, part_rows=PART_ROWS, show=show, cluster=ClusterOptions(cluster.address, **how), **options
    )


class Middle:
    """Does something once, when a third of the parts are reported and some are not there yet."""

    def __init__(self, out: Path, action: Callable[[], None]) -> None:
        self.out, self.action = out, action
        self.missing = -1

    def __call__(self, step: str, done: int, total: int) -> None:
        if self.missing < 0 and step != "reading files" and done > total // 3:
            self.action()
            self.missing = PARTS - len(list(self.out.glob("part-*")))


def count_parts(out: Path) -> int:
    return len(list(out.glob("part-*")))


def test_a_job_on_a_cluster_writes_what_one_process_writes(
    cluster: Any, bundle: Path, texts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    report = run(cluster, bundle, texts, tmp_path / "out")
    assert read_folder(tmp_path / "out") == expected
    assert (report.rows, report.kept, report.failed) == (PART_ROWS * PARTS, 0, 0)
    assert "on Ray" in report.execution


def test_a_node_that_dies_in_the_middle_costs_no_row(
    cluster: Any, bundle: Path, texts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    node = next(iter(cluster.worker_nodes))
    middle = Middle(tmp_path / "out", lambda: cluster.remove_node(node, allow_graceful=False))
    report = run(cluster, bundle, texts, tmp_path / "out", middle, least_actors=3)
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    assert middle.missing > 0
    assert read_folder(tmp_path / "out") == expected
    assert report.rows == PART_ROWS * PARTS


def test_an_actor_that_dies_in_the_middle_costs_no_row(
    cluster: Any, bundle: Path, texts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        killed.extend(find_actors("MapWorker")[:1])
        kill(killed[0])

    middle = Middle(tmp_path / "out", kill_one)
    run(cluster, bundle, texts, tmp_path / "out", middle, least_actors=2)
    assert killed
    assert middle.missing > 0
    assert read_folder(tmp_path / "out") == expected


def test_a_node_that_is_added_takes_part(cluster: Any, bundle: Path, tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts.jsonl", 20_000)
    added: list[Any] = []
    nodes: set[str] = set()

    def add(step: str, done: int, total: int) -> None:
        if done and step != "reading files":
            if not added:
                added.append(cluster.add_node(num_cpus=1, object_store_memory=80 << 20))
            nodes.update(find_nodes("MapWorker"))

    run(cluster, bundle, texts, tmp_path / "out", add, least_actors=4)
    cluster.remove_node(added[0])
    run_job(str(bundle), str(texts), str(tmp_path / "here"), part_rows=PART_ROWS)
    assert read_folder(tmp_path / "out") == read_folder(tmp_path / "here")
    assert added[0].node_id in nodes


def test_a_cluster_goes_on_with_what_a_process_began(
    cluster: Any, bundle: Path, texts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def stop() -> None:
        raise StopError

    with pytest.raises(StopError):
        run_job(str(bundle), str(texts), str(out), part_rows=PART_ROWS, processes=1, show=Middle(out, stop))
    there = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 0 < len(there) < PARTS
    report = run(cluster, bundle, texts, out)
    assert read_folder(out) == expected
    assert report.kept == len(there) * PART_ROWS
    assert {path: path.stat().st_mtime_ns for path in there} == there


def test_a_process_goes_on_with_what_a_cluster_began(
    cluster: Any, bundle: Path, texts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """The command is killed, and its actors with it."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "edgepipe", "map", bundle, texts, out, "--part-rows", PART_ROWS, "--quiet"]
    with join(cluster):
        process = subprocess.Popen([*map(str, command), "--ray", cluster.address])
        wait_until(lambda: process.poll() is not None or count_parts(out) > PARTS // 3)
        writing = find_actors("PartActor")
        kill(process.pid)
        assert process.wait() == -signal.SIGKILL
    assert writing
    wait_until(lambda: not any(map(is_running, writing)))  # Ray ends them when it sees that the driver is gone
    there = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 0 < len(there) < PARTS
    report = run_job(str(bundle), str(texts), str(out), part_rows=PART_ROWS, processes=1)
    assert read_folder(out) == expected
    assert report.kept == len(there) * PART_ROWS
    assert {path: path.stat().st_mtime_ns for path in there} == there


def test_one_file_is_joined_from_the_parts(cluster: Any, bundle: Path, texts: Path, tmp_path: Path) -> None:
    run(cluster, bundle, texts, tmp_path / "out.jsonl", ship=True)
    run_job(str(bundle), str(texts), str(tmp_path / "here.jsonl"), part_rows=PART_ROWS)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl", "here.jsonl"}


def test_another_bundle_at_the_path_is_an_error(cluster: Any, texts: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "mood")

    def exchange(step: str, done: int, total: int) -> None:
        if step == "rows":
            shutil.rmtree(bundle)
            write_bundle(bundle, dtypes=("fp32", "int8"))

    with pytest.raises(BundleError, match="another bundle here: its digest is"):
        run(cluster, bundle, texts, tmp_path / "out", exchange)
    assert count_parts(tmp_path / "out") == 0


def test_a_row_that_cannot_be_used_ends_a_job_that_wants_it_so(cluster: Any, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": 7}\n{"text": 8}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"texts\.jsonl, row 1: the column text has 7"):
        run(cluster, bundle, file, tmp_path / "out", fail_fast=True)
    assert run(cluster, bundle, file, tmp_path / "other").failed == 2


def test_the_command_says_what_it_did_and_nothing_of_ray_s(
    cluster: Any, bundle: Path, texts: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "edgepipe", "map", str(bundle), str(texts), str(tmp_path / "out"), "--json"]
    command += ["--quiet"]  # of how far it is, which is told every half minute
    command += ["--part-rows", str(PART_ROWS), "--ray", cluster.address, "--ray-actors", "1:2", "--ray-ship"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == PART_ROWS * PARTS
    assert report["execution"].endswith("on Ray: 1 to 2 actors of 1 CPUs")
    assert done.stderr == ""
    assert read_folder(tmp_path / "out") == expected


def test_processes_are_for_one_machine(bundle: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave --processes out"):
        map_on_cluster(bundle, texts, tmp_path / "out", processes=2)


@pytest.mark.parametrize(
    ("text", "pool"), [("4", (4, 4)), ("1:4", (1, 4)), ("2:", (2, None))], ids=["fixed", "bounded", "unbounded"]
)
def test_actors_are_read(text: str, pool: tuple[int, int | None]) -> None:
    assert read_actors(text) == pool


@pytest.mark.parametrize("text", ["", ":4", "many", "1-4", "1:4:8"])
def test_other_actors_are_an_error(text: str) -> None:
    with pytest.raises(InputError, match="the actors are"):
        read_actors(text)


@pytest.mark.parametrize("pool", [(0, 1), (3, 2)], ids=["none", "upside-down"])
def test_a_pool_that_cannot_be_is_an_error(pool: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="cannot be; begin with one"):
        ClusterOptions("auto", *pool)
