"""What `edgepipe env` tells of OpenVINO."""

from __future__ import annotations

import importlib.metadata

import pytest

from edgepipe.backend.openvino.ov_installation import describe_installation
from edgepipe.cli.commands.env import _facts, describe_environment


def test_the_packages_and_the_precisions() -> None:
    found = describe_installation()
    assert set(found) == {"packages", "precisions"}
    assert "openvino" in found["packages"]
    assert "fp32" in found["precisions"]


def test_env_shows_it() -> None:
    found = _facts(describe_environment())
    assert found["openvino"].startswith("openvino 2")
    assert "computes in " in found["openvino"]
    assert "CPUExecutionProvider" in found["providers"]


def test_nothing_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert describe_installation() == {}
