"""examples/stdio: a model behind two pipes, for programs in C, Rust and Node."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgepipe import pipeline
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "examples" / "stdio"
TEXTS = ["I love this.", 'They said "late" again \\o/', "tab\there", "Zoë 😀"]
MODEL = [sys.executable, "-m", "edgepipe", "run", "--serve-stdin"]


def build_client(language: str, folder: Path) -> list[str]:
    """How the client is started, compiled where it has to be."""
    if language == "node":
        return [shutil.which("node") or "node", str(FOLDER / "client.mjs")]
    compiler, source = {"c": ("cc", "client.c"), "rust": ("rustc", "client.rs")}[language]
    warnings = ["-Wall", "-Wextra", "-Werror"] if language == "c" else ["-D", "warnings"]
    subprocess.run([compiler, *warnings, "-o", str(folder / "client"), str(FOLDER / source)], check=True, timeout=120)
    return [str(folder / "client")]


@pytest.mark.parametrize("language", ["c", "rust", "node"])
def test_each_client_gets_what_the_pipeline_gives(language: str, tmp_path: Path) -> None:
    program = {"c": "cc", "rust": "rustc", "node": "node"}[language]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [*build_client(language, tmp_path), *MODEL],
        input="\n".join(TEXTS) + "\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        encoding="utf-8",
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    found = answers if language == "node" else [answer["output"] for answer in answers]
    classify = pipeline()
    assert found == [classify(text) for text in TEXTS]


def test_each_file_is_in_the_table() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("client.*"):
        assert f"[{path.name}]({path.name})" in page
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 45
