from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepipe import Bundle
from edgepipe.bundle.manifest import Parity
from edgepipe_export.evaluation.metrics.confusion import ChangedExample, Choice, Confusion
from edgepipe_export.reporting.contents import Contents, Measurements, read_contents
from edgepipe_export.selection.request_time import RequestTime
from tests.runtime.small_bundle import write_bundle

DTYPES = ("fp32", "int8", "w8")
PARITIES = {
    "fp32": Parity("pytorch-fp32", 210, {"logits": 1e-6, "pooler_output": 2e-6}, 1e-7, 1.0, "a bound", True),
    "int8": Parity(
        "fp32", 100, {"logits": 0.5}, 0.25, 0.9, "a bound", False, {"accuracy": 0.875, "reference_accuracy": 0.9375}
    ),
    "w8": Parity(
        "fp32", 100, {"logits": 0.125}, 0.0625, 1.0, "a bound", True, {"accuracy": 0.9375, "reference_accuracy": 0.9375}
    ),
}
EXAMPLE = ChangedExample("a text", "", Choice("good", 0.75), Choice("bad", 0.5), "good")


@pytest.fixture
def bare(tmp_path: Path) -> Contents:
    """The contents of a bundle that nothing was measured of."""
    return read_contents(Bundle.load(write_bundle(tmp_path / "bundle", dtypes=DTYPES)))


@pytest.fixture
def contents(bare: Contents) -> Contents:
    """The same with figures of three variants, and decisions of two."""
    variants = {dtype: replace(variant, parity=PARITIES[dtype]) for dtype, variant in bare.manifest.variants.items()}
    changed = Confusion(100, 12, (("good", "good", 88), ("good", "bad", 12)), (EXAMPLE,) * 12, 10, 1)
    same = Confusion(100, 0, (("good", "good", 88), ("bad", "bad", 12)), (), 0, 0)
    measurements = {
        "fp32": Measurements(time=RequestTime(8.0, 0.5, 1.0, 6.5)),
        "int8": Measurements(confusion=changed, time=RequestTime(4.0, 0.25, 1.0, 2.5)),
        "w8": Measurements(confusion=same, time=RequestTime(6.0, 0.25, 1.0, 4.5)),
    }
    return replace(bare, manifest=replace(bare.manifest, variants=variants), measurements=measurements)
