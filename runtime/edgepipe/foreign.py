"""What the graph of a directory without a manifest is for, told by its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Outputs of graphs without a head: transformers', then those optimum gives sentence-transformers' directories.
_BODY = ("last_hidden_state", "token_embeddings")


def task_of_graph(
    said: str | None, config: Mapping[str, Any], outputs: Mapping[str, Sequence[int | str | None]]
) -> str | None:
    """The task a foreign graph is for.

    The config says what the checkpoint was fine-tuned for, the graph what was exported of it: a masked language
    model exported for feature extraction gives hidden states. So the graph decides where the two disagree, and
    where the config says nothing.

    Args:
        said: The task that the config says, None if it says none.
        config: ``config.json``.
        outputs: The graph's outputs with their declared shapes.

    Returns:
        The task; None where neither tells.
    """
    fitting = _fitting(config, outputs)
    if said in fitting or not fitting:
        return said
    if said is None and config.get("architectures") and "logits" in outputs:
        return None  # a class unknown here: decoders' and images' heads give logits of the same shapes
    return fitting[0] if len(fitting) == 1 else None


def _fitting(config: Mapping[str, Any], outputs: Mapping[str, Sequence[int | str | None]]) -> tuple[str, ...]:
    """The tasks whose heads give such outputs; none where nothing can be said."""
    if "start_logits" in outputs and "end_logits" in outputs:
        return ("question-answering",)
    if "logits" not in outputs:
        return ("feature-extraction",) if any(name in outputs for name in _BODY) else ()
    shape = outputs["logits"]
    if len(shape) == 2:
        return ("text-classification",)
    if len(shape) != 3:
        return ()
    if isinstance(shape[2], int) and isinstance(config.get("vocab_size"), int):
        return ("fill-mask",) if shape[2] == config["vocab_size"] else ("token-classification",)
    return ("token-classification", "fill-mask")
