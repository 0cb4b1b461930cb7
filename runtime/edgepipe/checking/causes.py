"""What may be behind a variant that fails its probes, in one sentence each, the surest first."""

from __future__ import annotations

from edgepipe.backend.machine import saturates
from edgepipe.bundle.directory import Bundle
from edgepipe.checking.deviation import Deviation
from edgepipe.embeddings.modules import SENTENCE_EMBEDDING
from edgepipe.models.variants import uses_8_bits

TOKENIZER = "the tokenizer is not the one that the bundle was made with: export or download the bundle again"
RESULTS = (
    "the same outputs give other results: labels, config or tokenizer are not those that the bundle was made with; "
    "export or download the bundle again"
)


def explain_not_finite(dtype: str) -> str:
    """Why a variant gives what is no number."""
    if "16" in dtype:
        return f"{dtype} overflows here: numbers beyond what 16 bits hold; take fp32"
    return "the graph computes what is no number: its weights are damaged, or this engine computes it wrongly"


def explain_swap(dtype: str, other: str) -> str:
    """Why a variant gives what another one gave."""
    return f"the files of {dtype} give what {other} gave: they are that variant's; export or download the bundle again"


def explain_deviation(bundle: Bundle, dtype: str, found: Deviation, engine: str, *, is_reference: bool) -> str:
    """Why a variant's outputs are others than where the bundle was made.

    Args:
        bundle: The bundle.
        dtype: The variant.
        found: How far they are.
        engine: What it runs on, e.g. ``"onnxruntime 1.32.0, CPU"``.
        is_reference: Whether that is onnxruntime on a processor, which bundles are made on.
    """
    if uses_8_bits(bundle, dtype) and saturates():
        return (
            "sums of 8-bit products overflow on this processor, which has no VNNI, and the variant was made for "
            "another: export with --target avx2"
        )
    if found.output == SENTENCE_EMBEDDING:
        return "the vector of a text is another: pooling or another module is not what the bundle was made with"
    if not is_reference:
        return f"{engine} computes something else: check it with --device cpu"
    return (
        f"{engine} computes something else on this processor, or the weights are not those that it was made with: "
        "edgepipe info --check compares the files"
    )
