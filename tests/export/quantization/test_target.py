"""The processor that a graph is for."""

from __future__ import annotations

import pytest

from edgepipe.errors import InputError
from edgepipe.models.default_variant import TARGET_KINDS
from edgepipe_export.quantization import target
from edgepipe_export.quantization.target import Target, find_target


@pytest.mark.parametrize("here", [True, False], ids=["here too", "not here"])
def test_weights_keep_to_7_bits_where_products_saturate(here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "saturates", lambda: here)
    found = [name for name in target.TARGETS if Target(name).reduce_range]
    assert found == ["avx2", "avx512", *(["openvino"] if here else [])]


def test_attention_is_standard_on_cuda_and_openvino() -> None:
    assert [name for name in target.TARGETS if Target(name).standard_attention] == ["cuda", "openvino"]


@pytest.mark.parametrize("name", ["", "AVX2", "sse"])
def test_an_unknown_target_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(
        InputError, match=f"unknown target '{name}'; it is one of this, avx2, avx512, vnni, arm64, cuda"
    ):
        find_target(name)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("arm64", {"avx512f"}, "arm64"),
        ("AArch64", set(), "arm64"),
        ("x86_64", {"avx2", "avx512f"}, "avx512"),
        ("x86_64", {"avx512f", sorted(target.VNNI_FLAGS)[0]}, "vnni"),
        ("x86_64", set(), "avx2"),
    ],
)
def test_this_machine_is_known_by_its_flags(
    machine: str, flags: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(target, "cpu_flags", lambda: frozenset(flags))
    assert find_target() == Target(expected)
    assert [name for name in target.TARGETS if Target(name).runs_here] == [expected, "openvino"]


@pytest.mark.parametrize(
    ("alias", "name"),
    [("x86-avx2", "avx2"), ("x86-avx512", "avx512"), ("x86-vnni", "vnni"), ("avx512_vnni", "vnni"), ("arm64", "arm64")],
)
def test_other_names_of_a_target(alias: str, name: str) -> None:
    assert find_target(alias) == Target(name)
    assert set(target.ALIASES.values()) <= set(target.TARGETS)


@pytest.mark.parametrize(
    ("architecture", "flags", "expected"),
    [
        ("x86_64", {"avx2", "avx512f"}, ["avx2", "avx512", "openvino"]),
        ("x86_64", {"avx2", "avx_vnni"}, ["vnni", "openvino"]),
        ("aarch64", {"asimd"}, ["arm64", "openvino"]),
        ("arm64", set(), ["arm64", "openvino"]),
    ],
    ids=["avx512", "vnni", "arm64", "not known"],
)
def test_results_are_the_target_s_where_it_has_the_same_kernels(
    architecture: str, flags: set[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: architecture)
    for module in ("edgepipe.backend.machine", target.__name__):
        monkeypatch.setattr(f"{module}.cpu_flags", lambda: frozenset(flags))
    assert [name for name in target.TARGETS if Target(name).computes_here] == expected


def test_processors_of_targets() -> None:
    assert set(TARGET_KINDS) == set(target.CPU_TARGETS)
