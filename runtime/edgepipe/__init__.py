"""edgepipe: transformers' pipelines on onnxruntime, without torch.

    from edgepipe import pipeline

    classify = pipeline("text-classification", "path/to/bundle")
    classify("I love this")  # [{"label": "POSITIVE", "score": 0.99...}]

Importing this package imports neither onnxruntime nor tokenizers; they come with the first object that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgepipe.errors import EdgepipeError

if TYPE_CHECKING:
    from edgepipe.bundle.directory import Bundle
    from edgepipe.factory import pipeline
    from edgepipe.mapping.map_dataset import map_dataset
    from edgepipe.models.encoder import Model
    from edgepipe.tokenization.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["Bundle", "EdgepipeError", "Model", "Tokenizer", "__version__", "check", "map_dataset", "pipeline"]

_MODULES = {
    "pipeline": "edgepipe.factory",
    "check": "edgepipe.checking.bundle_check",
    "map_dataset": "edgepipe.mapping.map_dataset",
    "Bundle": "edgepipe.bundle.directory",
    "Model": "edgepipe.models.encoder",
    "Tokenizer": "edgepipe.tokenization.tokenizer",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of the package

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            value = getattr(import_module(_MODULES[name]), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
