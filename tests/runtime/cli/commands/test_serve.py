"""``edgepipe serve``: its options; tests/runtime/serve has what the server does."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe.cli.commands.serve import KEYS_VARIABLE, read_keys
from edgepipe.cli.main import cli
from edgepipe.errors import InputError
from tests.runtime.processes import run_python


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["serve"], "Missing argument", id="no_bundle"),
        pytest.param(["serve", "x", "--certificate", "c"], "belong together", id="half_of_tls"),
        pytest.param(["serve", "x", "--workers", "0"], "--workers", id="no_worker"),
        pytest.param(["serve", "x", "--port", "70000"], "--port", id="port"),
    ],
)
def test_usage(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, message in result.output) == (2, True)


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    assert read_keys(None) == ()
    monkeypatch.setenv(KEYS_VARIABLE, " a  b\n")
    assert read_keys(None) == ("a", "b")
    file = tmp_path / "keys"
    file.write_text("c\n\nd\n")
    assert read_keys(file) == ("c", "d")
    file.write_text("\n")
    with pytest.raises(InputError, match="has no key, and everybody could ask"):
        read_keys(file)
    with pytest.raises(InputError, match="cannot be read as keys"):
        read_keys(tmp_path / "none")


def test_what_is_missing_is_named() -> None:
    program = """
        from click.testing import CliRunner
        from edgepipe.cli.main import cli
        result = CliRunner().invoke(cli, ["serve", "x"])
        print(repr(result.exception))
    """
    said = run_python(program, blocked=("starlette",))
    assert "DependencyError" in said
    assert "pip install 'edgepipe[serve]'" in said
