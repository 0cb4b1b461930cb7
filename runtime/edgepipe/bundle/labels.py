"""The labels of a checkpoint: which label each logit stands for, by transformers' ``id2label`` and ``label2id``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepipe.errors import BundleError

# For classes named by their number alone; the largest classifiers have some 100,000.
_MOST_LABELS = 1_000_000

# A label is a text, or whatever else config.json has in its place: transformers gives it back as it is.
Labels = Mapping[int, Any]


def read_labels(config: Mapping[str, Any]) -> dict[int, Any]:
    """``id2label`` of a config: the label of each logit, by the logit's place.

    A config without it has ``num_labels`` (2 if that is missing too) labels named ``LABEL_0``, ``LABEL_1`` and so on,
    as in transformers' ``PreTrainedConfig``.

    Raises:
        BundleError: an id is not a whole number, a label is a list or an object, or there are too many.
    """
    id2label = config.get("id2label")
    if isinstance(id2label, Mapping) and id2label:
        return {_read_id("id2label", place): _read_label(label) for place, label in id2label.items()}
    count = _read_id("num_labels", config.get("num_labels", 2))
    if count > _MOST_LABELS:
        raise BundleError(
            f"num_labels of config.json is {config['num_labels']!r:.40}, and no model has more than {_MOST_LABELS:,} "
            "labels"
        )
    return {place: f"LABEL_{place}" for place in range(count)}


def read_label_ids(config: Mapping[str, Any]) -> dict[str, int]:
    """``label2id`` of a config: the place of the logit of each label, or ``id2label`` read backwards without it.

    Raises:
        BundleError: an id is not a whole number.
    """
    label2id = config.get("label2id")
    if isinstance(label2id, Mapping) and label2id:
        return {str(label): _read_id("label2id", place) for label, place in label2id.items()}
    return {str(label): place for place, label in read_labels(config).items()}


def check_labels(labels: Labels, logits: int) -> None:
    """Check that every logit has a label. More labels than logits are no fault: ids decide.

    Raises:
        BundleError: a logit has none; the message names both counts.
    """
    missing = [place for place in range(logits) if place not in labels]
    if missing:
        raise BundleError(
            f"the model gives {logits} logits, numbered from 0, and id2label of config.json names {len(labels)} "
            f"labels, with the ids {_list(sorted(labels))}; there is no label for {_list(missing)}. Correct id2label "
            "and label2id in the checkpoint's config.json, and export it again"
        )


def name_labels(labels: Labels) -> tuple[str, ...]:
    """The labels as texts, in the order of the logits; as many as have one without a gap."""
    named: list[str] = []
    while len(named) in labels:
        named.append(str(labels[len(named)]))
    return tuple(named)


def _read_id(name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise BundleError(f"{name} of config.json has {value!r:.40} where a whole number is expected") from None


def _read_label(label: Any) -> Any:
    if isinstance(label, (list, dict)):
        raise BundleError(f"id2label of config.json has {label!r:.40} where a label is expected; mend it")
    return label


def _list(places: list[int]) -> str:
    shown = ", ".join(map(str, places[:8]))
    return shown + (" ..." if len(places) > 8 else "")
