"""One bundle that several tools are asked about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPTIMUM, TRANSFORMERS_JS = "optimum-onnx", "transformers.js"

# Inputs and options of a call.
Call = tuple[list[Any], dict[str, Any]]


@dataclass(frozen=True)
class Case(ABC):
    """A variant of a bundle.

    Attributes:
        task: The pipeline's task.
        model: What the tiny model is called in ``tests.tiny``.
        dtype: The variant.
    """

    task: str
    model: str
    dtype: str = "fp32"

    @property
    def bundle(self) -> str:
        """The name of the bundle's directory."""
        return f"{self.task}-{self.model}"

    @abstractmethod
    def make(self, root: Path) -> None:
        """Export the bundle, with all its variants."""

    @abstractmethod
    def calls(self, asked: str) -> list[Call]:
        """How a tool is called: optimum-onnx and edgepipe alike, transformers.js perhaps in fewer ways."""

    @abstractmethod
    def own(self, root: Path) -> Any:
        """What edgepipe answers, call by call."""

    @abstractmethod
    def kept(self, answers: Any, root: Path) -> Any:
        """What of anybody's answers is compared."""
