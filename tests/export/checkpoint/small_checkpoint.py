"""A small config, and changes to one that is on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 900,
}


def edit_config(checkpoint: Path, **entries: Any) -> None:
    path = checkpoint / "config.json"
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
