"""What a cache is bound to in place of a session: it does with keys and values what attention's graph does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.runtime.models.device_memory import memory


class TokenGraph:
    """Reads its past and writes past and new tokens, a token being its number everywhere."""

    def __init__(self) -> None:
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}

    def bind_input(self, name: str, value: Any) -> None:
        self.inputs[name] = memory(value)

    def bind_output(self, name: str, value: Any = None) -> None:
        self.outputs[name] = memory(value)

    def append(self, name: str, before: int, tokens: NDArray[np.int64]) -> None:
        """Write the past of an input, of so many tokens, and new ones behind it."""
        present, past = self._present(name), self.inputs[name]
        present[:, :, :before] = past[:, :, :before].copy()
        present[:, :, before : before + tokens.shape[1]] = tokens[:, None, :, None]

    def read_tokens(self, name: str, count: int) -> NDArray[np.float32]:
        """The first tokens of what was written for an input, float32[rows, count]."""
        found = self._present(name)[:, :, :count]
        assert (found == found[:, :1, :, :1]).all()
        return np.array(found[:, 0, :, 0])

    def _present(self, name: str) -> NDArray[Any]:
        return self.outputs[name.replace("past_key_values", "present")]
