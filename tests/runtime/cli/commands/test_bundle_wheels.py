"""``edgepipe bundle-wheels``: what it says; tests/packaging has it fetch wheels and installs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe.cli.main import cli
from edgepipe.errors import DownloadError
from tests.runtime.processes import run_python


def test_the_device_is_named_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    arguments = ["bundle-wheels", str(tmp_path / "wheels"), "--platform", "linux_aarch64", "--python", "3.12"]
    result = CliRunner().invoke(cli, arguments)
    assert "Fetching the wheels for linux_aarch64 and Python 3.12" in result.output
    assert isinstance(result.exception, DownloadError)
    assert "Fetching" not in CliRunner().invoke(cli, [*arguments, "--quiet"]).output


def test_a_folder_must_be_named() -> None:
    assert CliRunner().invoke(cli, ["bundle-wheels"]).exit_code == 2


def test_no_engine_is_imported(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe.cli.main import cli
        from click.testing import CliRunner
        CliRunner().invoke(cli, ["bundle-wheels", sys.argv[1], "--quiet"])
        print(*{name.partition(".")[0] for name in sys.modules})
    """
    found = run_python(program, str(tmp_path / "wheels"), env={"PIP_NO_INDEX": "1"})
    assert not {"numpy", "onnxruntime", "tokenizers", "torch"} & set(found.split())
