"""``edgepipe env``: what it tells, what it keeps to itself, and that it works where much is broken."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe.backend.machine import kernel_flags, processor_name
from edgepipe.backend.threads import available_threads
from edgepipe.cli.main import cli
from edgepipe_export.quantization.target import find_target
from tests.runtime.processes import run_python
from tests.runtime.terminal import run_on_terminal

PROGRAM = """
    import sys
    from click.testing import CliRunner
    from edgepipe.cli.main import cli
    result = CliRunner().invoke(cli, ["env", *sys.argv[1:]], catch_exceptions=False)
    print(result.output, end="")
"""


def told(**env: str) -> dict[str, Any]:
    found = json.loads(run_python(PROGRAM, "--json", env=env))
    assert isinstance(found, dict)
    return found


def test_versions_are_those_that_are_installed() -> None:
    found = told()
    assert {"edgepipe", "tokenizers", "numpy", "torch", "transformers", "onnx"} <= set(found["packages"])
    assert {"onnxruntime", "onnxruntime-gpu"} & set(found["packages"])
    assert all(version(name) == number for name, number in found["packages"].items())
    assert found["python"]["version"] == platform.python_version()


def test_the_machine_is_this_one() -> None:
    found = told()
    processor = found["processor"]
    assert (processor["name"], tuple(processor["flags"])) == (processor_name(), kernel_flags())
    assert processor["target"] == find_target().name
    assert processor["threads"] == available_threads()
    assert 1 <= processor["cores"] <= processor["allowed"] <= processor["processors"]
    assert found["memory"]["available"] < found["memory"]["total"]
    assert "CPUExecutionProvider" in found["engines"]["onnxruntime"]["providers"]


def test_neither_torch_nor_transformers_is_imported() -> None:
    program = f"{PROGRAM}    print(*{{name.partition('.')[0] for name in sys.modules}})\n"
    assert not {"torch", "transformers", "onnx"} & set(run_python(program).splitlines()[-1].split())


def test_text_is_a_line_a_fact() -> None:
    result = CliRunner().invoke(cli, ["env"], catch_exceptions=False)
    names = [line.split("  ")[0] for line in result.output.splitlines()]
    assert names[:3] == ["edgepipe", "python", "system"]
    assert {"processor", "processors", "memory", "onnxruntime", "providers", "packages"} <= set(names)
    assert len(set(names)) == len(names)


def test_a_cache_counts_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "one").write_bytes(bytes(1000))
    (tmp_path / "two").write_bytes(bytes(24))
    os.link(tmp_path / "two", tmp_path / "three")
    (tmp_path / "four").symlink_to(tmp_path / "two")
    cache = told(EDGEPIPE_CACHE=str(tmp_path), HOME=str(tmp_path.parent))["caches"]["edgepipe"]
    assert cache == {"path": f"~/{tmp_path.name}", "bytes": 1024, "files": 2}


def test_where_nothing_is_kept_there_is_no_cache() -> None:
    assert told(EDGEPIPE_CACHE="")["caches"]["edgepipe"] == {"path": None, "bytes": 0, "files": 0}
    assert "nothing is kept" in run_python(PROGRAM, env={"EDGEPIPE_CACHE": ""})


def test_names_of_users_and_passwords_stay_private(tmp_path: Path) -> None:
    home = tmp_path / "somebody"
    variables = {"HF_HOME": str(home / "hub"), "HF_ENDPOINT": "https://user:secret@hub.example/x", "HF_TOKEN": "hf_abc"}
    found = told(HOME=str(home), **variables)
    assert found["variables"]["HF_HOME"] == "~/hub"
    assert found["variables"]["HF_ENDPOINT"] == "https://hub.example/x"
    assert found["caches"]["hub"]["path"] == "~/hub/hub"
    shown = json.dumps(found)
    assert not any(word in shown for word in ("secret", "hf_abc", "somebody"))


def test_a_broken_installation_is_what_is_told_of() -> None:
    found = json.loads(run_python(PROGRAM, "--json", blocked=("onnxruntime", "edgepipe_export", "huggingface_hub")))
    assert found["engines"]["onnxruntime"]["error"].startswith("onnxruntime cannot be imported (No module named")
    assert (found["processor"]["target"], list(found["caches"])) == (None, ["edgepipe"])
    assert "onnxruntime cannot be imported" in run_python(PROGRAM, blocked=("onnxruntime",))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_narrow_terminal_gets_short_lines() -> None:
    shown = run_on_terminal([sys.executable, "-m", "edgepipe", "env"], columns=50)
    assert shown.status == 0
    assert all(len(line) <= 50 or len(line.split()) <= 2 for line in shown.lines)
