"""The processor that a graph is for."""

from __future__ import annotations

import pytest

from edgepipe.errors import InputError
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
