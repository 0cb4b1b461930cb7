"""What a session's configuration takes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepipe import Model
from edgepipe.backend.session import SessionConfig, describe_placement, refuse_int8_cache
from edgepipe.errors import DeviceError, InputError
from tests.runtime.small_bundle import write_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize("providers", [[], "CPUExecutionProvider", 3, [3], [()], [("CPUExecutionProvider",)], [None]])
def test_what_is_no_list_of_providers(providers: Any, folder: Path) -> None:
    with pytest.raises(InputError, match="providers"):
        Model.from_pretrained(folder, providers=providers)


def test_device_and_providers_exclude_each_other(folder: Path) -> None:
    with pytest.raises(InputError, match="exclude each other"):
        Model.from_pretrained(folder, device="cpu", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_threads(threads: Any, folder: Path) -> None:
    with pytest.raises(InputError, match=rf"num_threads must be a whole number.*got {threads!r}"):
        Model.from_pretrained(folder, num_threads=threads)


def test_what_a_configuration_takes() -> None:
    given = [("CPUExecutionProvider", {"use_arena": 0}), "OtherExecutionProvider"]
    assert SessionConfig(providers=given).providers == given
    assert SessionConfig(providers=(), device=None).providers == ()
    assert SessionConfig(device=0, num_threads=1, buckets=[]).buckets == []


def test_buckets_are_looked_at_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match="bucket"):
        SessionConfig(buckets=[(0, 8)])


def test_a_placement_in_words() -> None:
    assert describe_placement({}) == ""
    placement = {"FirstProvider": {"MatMul": 24, "Add": 2}, "CPUExecutionProvider": {"Shape": 2, "Cast": 1}}
    assert describe_placement(placement) == "FirstProvider 26 nodes; CPUExecutionProvider 3 nodes (Shape 2, Cast 1)"


def test_a_device_without_kernels_for_a_cache_in_8_bits() -> None:
    with pytest.raises(DeviceError, match="my bundle: w8 has its cache in 8 bits, for which cuda has no kernels"):
        refuse_int8_cache("cuda", "my bundle: w8")
