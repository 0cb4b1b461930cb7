"""The checkpoint's ``config.json``, read by key or, as transformers' configs are, by attribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ModelConfig(dict[str, Any]):
    """What ``config.json`` says: ``config["hidden_size"]`` or ``config.hidden_size``.

    A key gives the value as the file has it. The attributes `id2label`, `label2id` and `num_labels` are those of
    transformers' ``PreTrainedConfig``: with whole numbers as ids, and there where the file says nothing of labels.
    """

    @property
    def id2label(self) -> dict[int, str]:
        """The name of each label by its index in the logits."""
        return labels_by_id(self)

    @property
    def label2id(self) -> dict[str, int]:
        """The index of each label in the logits, by its name."""
        return {label: index for index, label in labels_by_id(self).items()}

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return len(labels_by_id(self))

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"config.json has no {name!r}; config.get({name!r}) gives None instead") from None


def labels_by_id(config: Mapping[str, Any]) -> dict[int, str]:
    """The labels of a checkpoint's config by their index in the logits, the first one first.

    A config without ``id2label`` has ``num_labels`` (2 if that is missing too) labels named ``LABEL_0``,
    ``LABEL_1`` and so on, as in transformers' ``PreTrainedConfig``.
    """
    id2label = config.get("id2label")
    if isinstance(id2label, Mapping) and id2label:
        return {int(key): str(label) for key, label in sorted(id2label.items(), key=lambda pair: int(pair[0]))}
    return {index: f"LABEL_{index}" for index in range(int(config.get("num_labels", 2)))}
