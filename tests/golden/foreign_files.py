"""Writing the directories of other tools, each with a file beside it that has their pipelines' answers."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("optimum-onnx", "optimum", "transformers", "torch", "onnxruntime", "tokenizers")


def write_directories(
    folder: Path, module: str, names: Iterable[str], make: Callable[[str, Path, Path], dict[str, Any]]
) -> None:
    """Write directories anew.

    Args:
        folder: Where they lie.
        module: What makes them, as ``python -m`` takes it.
        names: The directories.
        make: Makes one, given its name, an empty folder for the checkpoint, and the directory; returns its ``task``,
            ``calls`` and ``answers``.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for name in names:
        directory = folder / name
        shutil.rmtree(directory, ignore_errors=True)
        with tempfile.TemporaryDirectory() as temporary:
            made = make(name, Path(temporary), directory)
        facts = {
            "task": made["task"],
            "made_by": f"python -m {module} {name}",
            "versions": {package: version(package) for package in _PACKAGES},
            "calls": made["calls"],
            "answers": made["answers"],
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
