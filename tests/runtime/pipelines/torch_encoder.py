"""An encoder in PyTorch in a graph's place: tasks are tested beside transformers over the very same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
import transformers

from edgepipe import Tokenizer
from edgepipe.backend.device import DeviceSpec
from edgepipe.bundle.model_config import ModelConfig
from edgepipe.pipelines.registry import task_class
from tests.tiny import LIMIT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


class TorchEncoder:
    """A model of transformers as tasks see one."""

    device = DeviceSpec("cpu")
    on_cpu = True
    few_shapes = False
    workers = 1
    dtype = "fp32"
    directory = Path()
    max_length = LIMIT
    output_shapes: Mapping[str, Sequence[int | str | None]] = MappingProxyType({})

    def __init__(self, model: Any) -> None:
        self.config = ModelConfig(model.config.to_dict())
        self._model = model

    def __call__(self, **encoding: ArrayLike) -> dict[str, NDArray[np.float32]]:
        with torch.no_grad():
            output = self._model(**{name: torch.tensor(value) for name, value in encoding.items()})
        return {name: value.numpy() for name, value in output.items() if isinstance(value, torch.Tensor)}

    def close(self) -> None:
        """The model is the caller's."""


def both_pipelines(task: str, model: Any, tokenizer: Any, **options: Any) -> tuple[Any, Any]:
    """Our pipeline and that of transformers, over one model."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        ours = Tokenizer.from_pretrained(Path(folder), padding_side=tokenizer.padding_side)
    theirs = transformers.pipeline(task, model=model, tokenizer=tokenizer, device=-1)
    return task_class(task)(ours, TorchEncoder(model), **options), theirs
