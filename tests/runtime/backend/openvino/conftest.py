from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.small_bundle import write_bundle


@pytest.fixture(scope="session", autouse=True)
def _needs_openvino() -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system, or is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle of several variants, made once a file; not to be changed."""
    return write_bundle(tmp_path_factory.mktemp("bundle"), ("int8", "fp32", "fp16"))
