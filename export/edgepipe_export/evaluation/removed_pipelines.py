"""The pipelines that transformers removed: our task decodes, PyTorch computes.

What such a comparison shows is the graph and the tokenizer; that the task decodes as the last transformers which had it
is for the golden files of its tests.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgepipe import Model, Tokenizer
from edgepipe_export.checkpoint.limits import find_limit
from edgepipe_export.checkpoint.model_inputs import accepted_inputs
from edgepipe_export.checkpoint.tokenizer_files import write_tokenizer
from edgepipe_export.tracing.encoder import Encoder

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from edgepipe_export.checkpoint.load import Loaded


def removed_pipeline(task: str, loaded: Loaded) -> Callable[..., Any]:
    """A pipeline of a task over a checkpoint in PyTorch.

    The tokenizer is the checkpoint's own, not that of a bundle.
    """
    from edgepipe.pipelines.registry import task_class

    kind = task_class(task)
    with tempfile.TemporaryDirectory(prefix="edgepipe-tokenizer-") as folder:
        write_tokenizer(loaded.tokenizer, Path(folder))
        tokenizer = Tokenizer.from_pretrained(folder)
    return kind(tokenizer, PyTorchModel(loaded, kind.outputs))


class PyTorchModel(Model):
    """A model of the runtime whose tensors PyTorch computes."""

    def __init__(self, loaded: Loaded, outputs: tuple[str, ...]) -> None:
        """Take over a checkpoint; `outputs` are the tensors to give."""
        self.config = loaded.model.config.to_dict()
        self.max_length = find_limit(loaded.model).tokens
        self._model = loaded.model
        self._encoder = Encoder(loaded.model, outputs)

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on a processor."""
        return True

    def __call__(self, **encoding: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """Run the model on [batch, length] integers."""
        names = accepted_inputs(self._model, encoding)
        with torch.no_grad():
            result = self._encoder(**{name: torch.from_numpy(np.asarray(encoding[name])) for name in names})
        return {name: tensor.numpy() for name, tensor in result.items()}
