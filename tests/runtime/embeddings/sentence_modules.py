"""Token vectors to pool, and modules on disk as sentence-transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

BATCH, LENGTH, HIDDEN = 5, 7, 6
# Tokens of each row; the last row is no longer than the prompt.
LENGTHS = (7, 5, 4, 6, 3)
PROMPT = 3


def batch(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random float32[5, 7, 6] and a mask with padding on one side."""
    hidden = torch.from_numpy(np.random.default_rng(0).standard_normal((BATCH, LENGTH, HIDDEN), dtype=np.float32))
    mask = torch.zeros((BATCH, LENGTH), dtype=torch.int64)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
    return hidden, mask if side == "right" else mask.flip(1)


def write_modules(folder: Path, modules: list[Any], *, package: str = "sentence_transformers.models") -> Path:
    """Save modules after a transformer (which is not there), with a modules.json."""
    entries = [{"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"}]
    for index, module in enumerate(modules, 1):
        kind = type(module).__name__
        path = folder / f"{index}_{kind}"
        path.mkdir(parents=True)
        module.save(str(path))
        entries.append({"idx": index, "name": str(index), "path": path.name, "type": f"{package}.{kind}"})
    folder.mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder
