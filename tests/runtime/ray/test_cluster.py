"""Connecting: what is there before is there afterwards, and what does not answer is said soon."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from edgepipe.errors import DependencyError, DeviceError, InputError
from edgepipe.ray.cluster import connect, describe_failure
from tests.runtime.ray.cluster_processes import join

ray = pytest.importorskip("ray")


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        return int(stream.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Something listens that is not Ray."""
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        stream.listen()
        yield int(stream.getsockname()[1])


def say_nothing(message: str) -> None:
    raise AssertionError(message)


def test_a_connection_ends_and_leaves_the_signal_s_handler(cluster: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with connect(cluster.address, say_nothing) as found:
        assert len([node for node in found.nodes() if node["Alive"]]) == 3
        assert signal.getsignal(signal.SIGTERM) is before
    assert not ray.is_initialized()


def test_a_connection_that_was_there_stays(cluster: Any) -> None:
    with join(cluster):
        with connect("nonsense", say_nothing):
            pass
        assert ray.is_initialized()


def test_the_variable_names_the_cluster(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with connect("auto", say_nothing) as found:
        assert found.get_runtime_context().gcs_address == cluster.address


def test_ray_s_client_is_an_error() -> None:
    with pytest.raises(InputError, match="ray job submit"), connect("ray://127.0.0.1:10001", say_nothing):
        pass


def test_nobody_at_the_address_is_an_error(closed_port: int) -> None:
    with (
        pytest.raises(DeviceError, match=f"no Ray cluster answers at 127.0.0.1:{closed_port}"),
        connect(f"127.0.0.1:{closed_port}", say_nothing),
    ):
        pass


def test_something_else_at_the_address_is_an_error(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepipe.ray.cluster._SECONDS", 0.2)
    with (
        pytest.raises(DeviceError, match="no Ray cluster answers at"),
        connect(f"127.0.0.1:{silent_port}", say_nothing),
    ):
        pass


def test_the_variable_s_address_is_tried_too(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(DeviceError, match="no Ray cluster answers"), connect("auto", say_nothing):
        pass


@pytest.mark.parametrize("address", ["bundle", "texts/in.jsonl", "host:", ":6379", "host:99999999", "http://host:80"])
def test_what_is_no_address_is_an_error(address: str) -> None:
    with pytest.raises(InputError, match="is no address of a Ray cluster"), connect(address, say_nothing):
        pass


def test_other_versions_are_an_error(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    version = ray.__version__
    monkeypatch.setattr(ray, "__version__", "2.0.0")
    with (
        pytest.raises(DependencyError, match=f"has other versions: .*Ray: {version}.*Ray: 2.0.0"),
        connect(cluster.address, say_nothing),
    ):
        pass
    assert not ray.is_initialized()


def test_a_node_without_edgepipe_is_named() -> None:
    error = RuntimeError("Traceback:\nModuleNotFoundError: No module named 'edgepipe'")
    assert isinstance(describe_failure(error), DependencyError)
    assert "Ray ended the work: RuntimeError: out of luck" in str(describe_failure(RuntimeError("out of luck\nmore")))


def test_the_tests_have_no_cluster_of_their_own_in_the_environment() -> None:
    assert "RAY_ADDRESS" not in os.environ
