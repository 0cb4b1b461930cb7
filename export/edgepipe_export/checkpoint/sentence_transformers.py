"""sentence-transformers directories: what tells a runtime how to embed goes into the bundle as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgepipe.bundle.third_party import MODULES_NAME, is_sentence_encoder, read_module_entries
from edgepipe.embeddings.sentence_config import CONFIG_NAME, TRANSFORMER_NAMES, read_sentence_config
from edgepipe.errors import BundleError, CheckpointError
from edgepipe.pipelines.sentence_embedding import EmbeddingTask
from edgepipe_export.checkpoint.hub_checkpoint import pickle_error

if TYPE_CHECKING:
    from edgepipe_export.checkpoint.resolve import Checkpoint

_WEIGHTS = "model.safetensors"
_PICKLE = "pytorch_model.bin"


def write_sentence_files(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy modules, their settings and weights; nothing for other tasks and other checkpoints.

    Raises:
        CheckpointError: a module is damaged, pickled without permission, or not known to the runtime.
    """
    source = checkpoint.directory
    if source is not None and checkpoint.base is not None and not is_sentence_encoder(source):
        source = checkpoint.base  # an adapter that PEFT saved, for an encoder with layers of its own
    if source is None or not issubclass(checkpoint.task, EmbeddingTask):
        return
    try:
        if not is_sentence_encoder(source):
            return
        for name in (MODULES_NAME, CONFIG_NAME, *TRANSFORMER_NAMES):
            if (source / name).is_file():
                shutil.copy(source / name, folder / name)
        for _, module in read_module_entries(source)[1:]:
            if (source / module).is_dir():
                _copy_module(source / module, folder / module, checkpoint.request.allow_pickle)
        read_sentence_config(folder)
    except BundleError as error:
        raise CheckpointError(
            f"{checkpoint.name} is a sentence-transformers model that edgepipe cannot embed with: {error}; without its "
            f"{MODULES_NAME} it is exported as an ordinary encoder"
        ) from error


def _copy_module(source: Path, target: Path, allow_pickle: bool) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", _WEIGHTS):
        if (source / name).is_file():
            shutil.copy(source / name, target / name)
    if (source / _WEIGHTS).is_file() or not (source / _PICKLE).is_file():
        return
    if not allow_pickle:
        raise pickle_error(f"{source} has no {_WEIGHTS}, only pickled weights ({_PICKLE})")
    import torch
    from safetensors.torch import save_file

    weights = torch.load(source / _PICKLE, map_location="cpu", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, target / _WEIGHTS)
