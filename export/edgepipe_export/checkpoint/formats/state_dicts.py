"""Weights in a file alone, as ``torch.save(model.state_dict(), FILE)`` writes them: all else is that of a base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.loading_errors import describe_error

SAFETENSORS = ".safetensors"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")

# Where training loops put the weights beside other things, and what wrappers put before their names.
_KEYS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def is_state_dict(path: Path) -> bool:
    """Whether a file's name ends as files of weights do."""
    return path.suffix in (SAFETENSORS, *PICKLED)


def read_state_dict(path: Path) -> dict[str, Any]:
    """The weights of a file; nothing but tensors is unpickled.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
    """
    import torch
    from safetensors.torch import load_file

    try:
        found = load_file(path) if path.suffix == SAFETENSORS else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        # safetensors and torch have errors of their own, and pickle those of any class.
        raise CheckpointError(f"{path} cannot be read: {describe_error(error)}") from error
    for key in _KEYS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(value, torch.Tensor) for value in found.values())
    ):
        raise CheckpointError(
            f"{path} is no state_dict: it has something else than tensors by their names; save model.state_dict()"
        )
    return dict(found)


def match_names(weights: Mapping[str, Any], expected: set[str]) -> dict[str, Any]:
    """Take off what wrappers put before all names: DataParallel, torch.compile, Lightning.

    Args:
        weights: The weights, by their names.
        expected: The names that the model has.
    """
    found = dict(weights)
    while found and not expected & set(found):
        prefix = next((each for each in _PREFIXES if all(name.startswith(each) for name in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found
