"""Directories of other tools, as they are kept in tests/data and in the layout of a Hub repository."""

from __future__ import annotations

import shutil
from pathlib import Path


def as_repository(kept: Path, folder: Path) -> Path:
    """A copy with its graphs where transformers.js looks for them, in ``onnx/``."""
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    (folder / "onnx").mkdir()
    for graph in folder.glob("*.onnx"):
        graph.rename(folder / "onnx" / graph.name)
    return folder
