"""What a directory without a manifest does not say: what its graph is for, and how long a text may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepipe.bundle.integrity import read_json
from edgepipe.errors import BundleError

# Lists the layers of a sentence-transformers model.
MODULES_NAME = "modules.json"

# Outputs of graphs without a head: transformers', then those optimum gives sentence-transformers' directories.
_HIDDEN_STATES = ("last_hidden_state", "token_embeddings")

# Model types whose positions begin behind the id of padding, so that their tables have rows that no token can use.
_POSITIONS_AFTER_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


def max_positions(config: Mapping[str, Any]) -> int | None:
    """How many tokens have a position of their own; None where the config does not say."""
    rows = config.get("max_position_embeddings")
    if not isinstance(rows, int):
        return None
    if config.get("model_type") not in _POSITIONS_AFTER_PADDING:
        return rows
    padding = config.get("pad_token_id", 1)  # transformers leaves it out where it is the default of these, 1
    return rows - (padding + 1 if isinstance(padding, int) else 0)


def infer_graph_task(
    config_task: str | None, config: Mapping[str, Any], outputs: Mapping[str, Sequence[int | str | None]]
) -> str | None:
    """The task that another tool's graph is for.

    The config says what the checkpoint was fine-tuned for, the graph what was exported of it: a masked language
    model exported for feature extraction gives hidden states. So the graph decides where the two disagree, and
    where the config says nothing.

    Args:
        config_task: The task that the config says, None if it says none.
        config: ``config.json``.
        outputs: The graph's outputs with their declared shapes.

    Returns:
        The task; None where neither tells.
    """
    possible = _tasks_for_outputs(config, outputs)
    if config_task in possible or not possible:
        return config_task
    if config_task is None and config.get("architectures") and "logits" in outputs:
        return None  # a class unknown here: decoders' and images' heads give logits of the same shapes
    return possible[0] if len(possible) == 1 else None


def _tasks_for_outputs(config: Mapping[str, Any], outputs: Mapping[str, Sequence[int | str | None]]) -> tuple[str, ...]:
    """The tasks whose heads give such outputs; none where that is unknown."""
    if "start_logits" in outputs and "end_logits" in outputs:
        return ("question-answering",)
    if "logits" not in outputs:
        return ("feature-extraction",) if any(name in outputs for name in _HIDDEN_STATES) else ()
    shape = outputs["logits"]
    if len(shape) == 2:
        return ("text-classification",)
    if len(shape) != 3:
        return ()
    if isinstance(shape[2], int) and isinstance(config.get("vocab_size"), int):
        return ("fill-mask",) if shape[2] == config["vocab_size"] else ("token-classification",)
    return ("token-classification", "fill-mask")


def is_sentence_encoder(directory: Path) -> bool:
    """Whether a directory is a sentence-transformers model of dense vectors: its modules pool."""
    if not (directory / MODULES_NAME).is_file():
        return False
    return any(kind == "Pooling" for kind, _ in read_module_entries(directory))


def read_module_entries(directory: Path) -> list[tuple[str, str]]:
    """The class and the directory, relative to the bundle, of each module in ``modules.json``, in order.

    The class is its bare name for those of sentence-transformers, whose packages have moved over time, and the
    whole path for others.

    Raises:
        BundleError: the file is damaged, or names a directory outside.
    """
    path = directory / MODULES_NAME
    entries = read_json(path, list)
    found = []
    for entry in entries:
        if not isinstance(entry, Mapping) or not all(isinstance(entry.get(key), str) for key in ("type", "path")):
            raise BundleError(f"{path}: each module needs a type and a path, got {entry!r:.80}")
        folder = entry["path"]
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise BundleError(f"{path} names {folder!r}, which is outside the bundle")
        kind = entry["type"]
        found.append((kind.rpartition(".")[2] if kind.startswith("sentence_transformers.") else kind, folder))
    return found
