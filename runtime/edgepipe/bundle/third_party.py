"""What a directory without a manifest does not say: what its graph is for, and how long a text may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepipe.errors import BundleError

if TYPE_CHECKING:
    from edgepipe.bundle.directory import Bundle

# Outputs of graphs without a head: transformers', then those optimum gives sentence-transformers' directories.
_BODY = ("last_hidden_state", "token_embeddings")

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


def told_task(bundle: Bundle) -> str | None:
    """The task of a bundle: its manifest's or, without one, what config and graph tell; opens the graph for that."""
    from edgepipe.backend.engines import create_session

    if not graph_decides(bundle):
        return bundle.task
    try:
        graph = bundle.graph(bundle.default_dtype)
    except BundleError:  # several graphs, none of them alone
        return bundle.task
    return task_of_graph(bundle.task, bundle.config, create_session(graph).output_shapes)


def graph_decides(bundle: Bundle) -> bool:
    """Whether outputs tell a bundle's task: not with a manifest; and what writes has logits like any head's."""
    from edgepipe.pipelines.registry import task_class

    return bundle.manifest is None and (bundle.task is None or not task_class(bundle.task).generates)


def positions(config: Mapping[str, Any]) -> int | None:
    """How many tokens have a position of their own; None where the config does not say."""
    rows = config.get("max_position_embeddings")
    if not isinstance(rows, int):
        return None
    if config.get("model_type") not in _POSITIONS_AFTER_PADDING:
        return rows
    padding = config.get("pad_token_id", 1)  # transformers leaves it out where it is the default of these, 1
    return rows - (padding + 1 if isinstance(padding, int) else 0)


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
