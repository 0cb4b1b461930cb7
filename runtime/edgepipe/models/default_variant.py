"""Which variant is loaded on a processor where nobody names one.

It is the bundle's default, but on a processor of another kind than it was made for, in two cases:

- The default is known to fail there. The fastest takes its place of those that are not.
- Another variant is faster there, and was slower where the bundle was made: one that was faster there already has been
  passed over by whoever made the bundle. fp32 stays: who makes that the default wants it exact.

What takes its place has passed the exporter's gate. What is faster where is a table of the engine's
(:attr:`~edgepipe.backend.session.DeviceProfile.variant_orders`). What fails where was seen on emulated processors:
docs/reference/processors.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgepipe.backend.machine import ARM64, ARM64_DOT, AVX2, VNNI, Processor
from edgepipe.bundle.manifest import Manifest

# The variant that every device computes alike, but for the order of additions.
EXACT = "fp32"

# The kinds of processors that a target of an export is for; those that are not here are other devices.
TARGET_KINDS: Mapping[str, tuple[str, ...]] = {
    "avx2": (AVX2,),
    "avx512": (AVX2,),
    "vnni": (VNNI,),
    "arm64": (ARM64, ARM64_DOT),
}


@dataclass(frozen=True, slots=True)
class DefaultChoice:
    """A variant to load where nobody names one.

    Attributes:
        dtype: The variant.
        reason: Why it is not the bundle's default; None where it is.
    """

    dtype: str
    reason: str | None = None


def choose_default(
    manifest: Manifest,
    default: str,
    there: Collection[str],
    processor: Processor,
    orders: Mapping[str, tuple[str, ...]],
    *,
    fits: Callable[[str], bool],
) -> DefaultChoice:
    """The variant to load on a processor.

    Args:
        manifest: What the exporter recorded.
        default: The bundle's default.
        there: The variants that can be had.
        processor: Where it runs.
        orders: The variants by kind of processor, the fastest first.
        fits: Whether there is memory for a variant, so that it may be taken for its speed alone.
    """
    target = find_target(manifest)
    made_for = TARGET_KINDS.get(target or "", ())
    order = orders.get(processor.kind or "", ())
    if not order or processor.kind in made_for:
        return DefaultChoice(default)
    suitable = [
        name
        for name in order
        if name != default
        and name in there
        and passed_gate(manifest, name)
        and not find_known_failure(manifest, name, processor)
    ]
    failure = find_known_failure(manifest, default, processor)
    if failure is not None:
        return DefaultChoice(suitable[0], f"fails on this processor: {failure}") if suitable else DefaultChoice(default)
    if target is None or default == EXACT or default not in order:
        return DefaultChoice(default)
    passed_over = {name for kind in made_for for name in _faster(orders.get(kind, ()), default)}
    for name in suitable:
        if name in _faster(order, default) and name not in passed_over and fits(name):
            return DefaultChoice(name, f"was made for {target}, and is slower than {name} on this processor")
    return DefaultChoice(default)


def find_known_failure(manifest: Manifest, dtype: str, processor: Processor) -> str | None:
    """Why a variant is known to fail on a processor; None where nothing is known."""
    # Without AVX2 nothing overflowed (docs/reference/processors.md), though it is not certain for all weights.
    if processor.kind == AVX2 and uses_8_bits(manifest, dtype):
        return "its weights use all of 8 bits, and sums of such products overflow without VNNI"
    if dtype == "fp16" and "asimdhp" in processor.flags:
        return "half precision is computed as such there, and gives other results than where the variant was measured"
    return None


def find_target(manifest: Manifest) -> str | None:
    """What the variants were made for; None for bundles that do not say it."""
    if manifest.target is not None:
        return manifest.target
    first = manifest.variants[manifest.default_dtype].recipe
    recipes = [recipe for each in (first, *_recipes(manifest)) for recipe in recipe_parts(each)]
    return next((found for recipe in recipes if isinstance(found := recipe.get("target"), str)), None)


def passed_gate(manifest: Manifest, dtype: str, gate: str | None = None) -> bool:
    """Whether a variant computes in fp32, as exactly as anywhere, or the exporter measured it and it passed.

    Args:
        manifest: What the exporter recorded.
        dtype: The variant.
        gate: The device that it must have been measured on; None for onnxruntime on a processor.
    """
    if dtype == EXACT:
        return True
    variant = manifest.variants.get(dtype)
    parity = None if variant is None else variant.parity
    return parity is not None and parity.device == gate and parity.passed


def uses_8_bits(manifest: Manifest, dtype: str) -> bool:
    """Whether a variant multiplies integers without room for their sum."""
    return any(recipe.get("reduce_range") is False for recipe in recipe_parts(manifest.variants[dtype].recipe))


def _recipes(manifest: Manifest) -> Iterator[Mapping[str, Any]]:
    return (variant.recipe for variant in manifest.variants.values())


def recipe_parts(recipe: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A recipe, or those of its graphs where each has its own."""
    graphs = recipe.get("graphs")
    recipes = graphs.values() if isinstance(graphs, Mapping) else [recipe]
    return [each for each in recipes if isinstance(each, Mapping)]


def _faster(order: tuple[str, ...], dtype: str) -> tuple[str, ...]:
    """What stands before a variant; nothing where it is not in the order."""
    return order[: order.index(dtype)] if dtype in order else ()
