"""Which variant a processor loads where nobody names one: by its description, none is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edgepipe.backend.engines import device_profile
from edgepipe.backend.machine import KINDS, Processor
from edgepipe.bundle.manifest import Manifest, Parity, Source, Variant
from edgepipe.models.default_variant import (
    TARGET_KINDS,
    choose_default,
    find_known_failure,
    find_target,
    passed_gate,
    uses_8_bits,
)

A53 = Processor("aarch64", frozenset({"fp", "asimd"}))
A76 = Processor("aarch64", frozenset({"fp", "asimd", "asimddp", "asimdhp"}))
NEHALEM = Processor("x86_64", frozenset({"sse4_1", "sse4_2"}))
HASWELL = Processor("x86_64", frozenset({"avx", "avx2"}))
ZEN4 = Processor("x86_64", frozenset({"avx2", "avx512f", "avx512_vnni"}))
WINDOWS = Processor("AMD64", frozenset())
PROCESSORS = [
    pytest.param(processor, id=name)
    for name, processor in {
        "a53": A53, "a76": A76, "nehalem": NEHALEM, "haswell": HASWELL, "zen4": ZEN4, "windows": WINDOWS,
    }.items()
]  # fmt: skip

ORDERS = device_profile(None).variant_orders
FULL, REDUCED = {"reduce_range": False}, {"reduce_range": True}


def parity(*, passed: bool = True, device: str | None = None) -> Parity:
    return Parity("fp32", 1, {}, None, None, "", passed, device=device)


def make_manifest(*dtypes: str, target: str | None, recipe: Mapping[str, Any] = FULL, **parities: Any) -> Manifest:
    """A bundle for a target; int8 has the recipe, and each variant passed, or is as `parities` say."""
    variants = {
        dtype: Variant((), dict(recipe) if dtype.startswith("int8") else {}, parities.get(dtype, parity()))
        for dtype in dtypes
    }
    return Manifest("", Source("", None, ""), {}, "", None, "", (), dtypes[0], variants, target=target)


def chosen(manifest: Manifest, processor: Processor, *, fits: bool = True) -> str:
    found = choose_default(manifest, manifest.default_dtype, manifest.variants, processor, ORDERS, fits=lambda _: fits)
    assert (found.reason is None) == (found.dtype == manifest.default_dtype), "a change is said, and nothing else"
    return found.dtype


@pytest.mark.parametrize(
    ("target", "processors"),
    [("arm64", [A53, A76]), ("avx2", [HASWELL]), ("avx512", [HASWELL]), ("vnni", [ZEN4])],
    ids=["arm64", "avx2", "avx512", "vnni"],
)
@pytest.mark.parametrize("default", ["fp32", "w8", "q4", "fp16", "int8"])
def test_the_processor_that_it_was_made_for_takes_its_default(
    target: str, processors: list[Processor], default: str
) -> None:
    others = [name for name in ("int8", "w8", "fp32") if name != default]
    for processor in processors:
        assert chosen(make_manifest(default, *others, target=target), processor) == default


@pytest.mark.parametrize("processor", PROCESSORS)
def test_fp32_stays(processor: Processor) -> None:
    for target in (*TARGET_KINDS, "cuda", "openvino", None):
        assert chosen(make_manifest("fp32", "int8", "w8", target=target, recipe=REDUCED), processor) == "fp32"


@pytest.mark.parametrize("target", ["arm64", "vnni", "cuda"])
@pytest.mark.parametrize("dtype", ["int8", "int8-rows", "int8-static"])
def test_what_overflows_is_not_tried(target: str, dtype: str) -> None:
    manifest = make_manifest(dtype, "fp32", "q4", "w8", target=target)
    found = choose_default(manifest, dtype, manifest.variants, HASWELL, ORDERS, fits=lambda _: False)
    assert found.dtype == "w8", "the fastest there"
    assert found.reason == (
        "fails on this processor: its weights use all of 8 bits, and sums of such products overflow without VNNI"
    )
    assert chosen(make_manifest(dtype, "fp32", target=target, recipe=REDUCED), HASWELL) == dtype
    assert chosen(make_manifest(dtype, "w8", target=target), NEHALEM) == dtype, "nothing overflowed on one"
    assert chosen(make_manifest(dtype, target=target), HASWELL) == dtype, "there is nothing else: the load warns"


def test_half_precision_is_not_tried_where_it_is_computed_as_such() -> None:
    manifest = make_manifest("fp16", "fp32", target="cuda")
    assert chosen(manifest, A76, fits=False) == "fp32"
    assert chosen(manifest, A53, fits=False) == "fp16"
    assert chosen(manifest, A53) == "fp32", "on no processor fp16 is faster"
    assert chosen(manifest, ZEN4) == "fp32"


@pytest.mark.parametrize("processor", [A53, NEHALEM], ids=["a53", "nehalem"])
def test_blocks_without_kernels_give_way_to_what_is_faster(processor: Processor) -> None:
    manifest = make_manifest("w8", "fp32", "int8", target="vnni", recipe=REDUCED)
    assert chosen(manifest, processor) == "fp32", "int8 was faster where it was made, too, and was passed over"
    assert chosen(manifest, processor, fits=False) == "w8", "not where memory is too small for it"
    assert chosen(manifest, A76) == "w8"
    assert chosen(manifest, HASWELL) == "w8"


@pytest.mark.parametrize("refused", [parity(passed=False), parity(device="openvino"), None], ids=str)
def test_only_what_passed_the_gate_takes_its_place(refused: Parity | None) -> None:
    assert chosen(make_manifest("int8", "w8", "q4", target="vnni", w8=refused), HASWELL) == "q4"
    assert chosen(make_manifest("int8", "w8", target="vnni", w8=refused), HASWELL) == "int8"


@pytest.mark.parametrize("processor", PROCESSORS)
def test_what_it_was_made_for_is_not_known(processor: Processor) -> None:
    assert chosen(make_manifest("w8", "fp32", "int8", target=None, recipe=REDUCED), processor) == "w8"


def test_what_is_not_there_is_not_taken() -> None:
    manifest = make_manifest("int8", "w8", "fp32", target="vnni")
    assert choose_default(manifest, "int8", ["int8", "fp32"], HASWELL, ORDERS, fits=lambda _: True).dtype == "fp32"
    assert choose_default(manifest, "fp32", ["fp32", "w8"], HASWELL, ORDERS, fits=lambda _: True).dtype == "fp32"
    assert choose_default(manifest, "int8", ["int8", "fp32"], HASWELL, {}, fits=lambda _: True).dtype == "int8"


def test_the_target_of_older_bundles_is_in_a_recipe() -> None:
    assert find_target(make_manifest("int8", target="arm64", recipe={"target": "vnni"})) == "arm64"
    assert find_target(make_manifest("int8", target=None, recipe={"target": "vnni"})) == "vnni"
    assert find_target(make_manifest("w8", "int8", target=None, recipe={"target": "vnni"})) == "vnni"
    assert find_target(make_manifest("int8", target=None, recipe={"graphs": {"encoder": {"target": "avx2"}}})) == "avx2"
    assert find_target(make_manifest("fp32", target=None)) is None


def test_every_kind_has_an_order_of_all_that_processors_run() -> None:
    assert set(ORDERS) == set(KINDS)
    assert {kind for kinds in TARGET_KINDS.values() for kind in kinds} < set(KINDS)
    for order in ORDERS.values():
        assert sorted(order) == ["fp16", "fp32", "int8", "int8-rows", "int8-static", "q4", "q4-rows", "w8", "w8-rows"]


def test_find_failure() -> None:
    manifest = make_manifest("int8", "fp16", "w8", target="arm64")
    assert find_known_failure(manifest, "w8", HASWELL) is None
    assert find_known_failure(manifest, "fp16", HASWELL) is None
    assert "half precision" in str(find_known_failure(manifest, "fp16", A76))


def test_uses_8_bits() -> None:
    assert uses_8_bits(make_manifest("int8", target=None), "int8")
    assert not uses_8_bits(make_manifest("int8", target=None, recipe=REDUCED), "int8")
    assert uses_8_bits(make_manifest("int8", target=None, recipe={"graphs": {"a": REDUCED, "b": FULL}}), "int8")


def test_passed_gate() -> None:
    manifest = make_manifest("fp32", "int8", "w8", target=None, fp32=None, w8=parity(device="openvino"))
    assert passed_gate(manifest, "fp32"), "it is computed alike everywhere"
    assert passed_gate(manifest, "int8")
    assert not passed_gate(manifest, "w8")
    assert passed_gate(manifest, "w8", "openvino")
    assert not passed_gate(manifest, "q4")
