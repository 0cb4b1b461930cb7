"""No bundle of any architecture fails its own probes: with one thread and with two, and on OpenVINO where it runs.

Some ten minutes: ``python -m pytest -m coverage tests/export/end_to_end/test_probes_of_architectures.py``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, check
from edgepipe.errors import DeviceError
from edgepipe_export import export
from tests.tiny import build, heads
from tests.tiny.generative import DECODERS, ENCODER_DECODERS, REFUSED, build_generative
from tests.tiny.table import ARCHITECTURES

pytestmark = pytest.mark.coverage

DTYPES = ("fp32", "int8", "w8")
READERS = [(name, task) for name in ARCHITECTURES for task in heads(name)]
WRITERS = [name for name in (*DECODERS, *ENCODER_DECODERS) if name not in REFUSED]


def export_tiny(model: Any, tokenizer: Any, folder: Path) -> Bundle:
    return export(model, folder, tokenizer=tokenizer, dtypes=DTYPES, verify=False)


def assert_no_alarm(bundle: Bundle) -> None:
    for threads in (1, 2):
        found = check(bundle, num_threads=threads)
        assert found.passed, found.table()
        assert all(each.passed for each in found.variants), found.table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in ("fp32", "w8"):
            try:
                found = check(bundle, dtype=dtype, device="openvino")
            except DeviceError:
                continue
            [variant] = found.variants
            refused = variant.deviation is None and variant.probes == 0
            assert refused or variant.passed, found.table()


@pytest.mark.parametrize(("name", "task"), READERS)
def test_models_that_read(name: str, task: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    assert_no_alarm(export_tiny(*build(name, task=task), tmp_path / "bundle"))


@pytest.mark.parametrize("name", WRITERS)
def test_models_that_write(name: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    assert_no_alarm(export_tiny(*build_generative(name), tmp_path / "bundle"))
