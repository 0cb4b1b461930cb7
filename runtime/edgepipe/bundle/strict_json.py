"""JSON that every reader takes: Python writes ``Infinity`` and ``NaN``, which JSON does not have.

A lone surrogate, which no encoding of Unicode can hold, is written as the escape that JSON has for it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: Any, *, indent: int | None = 2) -> str:
    """JSON, indented or on one line; a number that is infinite or none becomes null, and an array lists."""
    text = json.dumps(make_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def make_finite(value: Any) -> Any:
    """The same value, with None in place of each number that is infinite or none, and lists in place of arrays."""
    if hasattr(value, "tolist"):  # numpy's
        return make_finite(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: make_finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [make_finite(item) for item in value]
    return value
