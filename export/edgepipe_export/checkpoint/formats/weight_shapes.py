"""A config that fits the weights: how many labels a head has, and how many tokens an embedding.

An adapter and a file of weights come without a config. That of their base says nothing of a head that was made for
other labels, nor of tokens that were added.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def make_empty(auto_class: Any, config: Any, **options: Any) -> Any:
    """A model of a config without memory for its weights."""
    import torch

    with torch.device("meta"):
        return auto_class.from_config(copy.deepcopy(config), attn_implementation="eager", **options)


def fit_config(config: Any, model: Any, shapes: Mapping[str, tuple[int, ...]], *, tokens: bool) -> None:
    """Set the number of labels, and of tokens, to those of saved weights.

    Args:
        config: The config; it is changed. Labels that are as many keep their names.
        model: A model of that config.
        shapes: The shapes of the weights, by their names in the model.
        tokens: Whether the size of the vocabulary is set too.
    """
    embeddings = model.get_input_embeddings().weight
    labels = getattr(config, "num_labels", None)
    inside = model.base_model_prefix + "."
    for name, parameter in model.state_dict(keep_vars=True).items():
        saved = shapes.get(name)
        if saved is None or len(saved) == 0 or saved[1:] != tuple(parameter.shape[1:]):
            continue
        if parameter is embeddings:
            if tokens:
                config.get_text_config().vocab_size = saved[0]
        elif parameter.shape[0] == labels != saved[0] and not name.startswith(inside):
            config.num_labels = saved[0]
