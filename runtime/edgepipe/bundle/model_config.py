"""The checkpoint's ``config.json``, read by key or, as transformers' configs are, by attribute."""

from __future__ import annotations

from typing import Any

from edgepipe.bundle.labels import read_label_ids, read_labels


class ModelConfig(dict[str, Any]):
    """What ``config.json`` says: ``config["hidden_size"]`` or ``config.hidden_size``.

    A key gives the value as the file has it. The attributes `id2label`, `label2id` and `num_labels` are those of
    transformers' ``PreTrainedConfig``: with whole numbers as ids, and there where the file says nothing of labels.
    """

    @property
    def id2label(self) -> dict[int, str]:
        """The label of each logit, by the logit's place."""
        return read_labels(self)

    @property
    def label2id(self) -> dict[str, int]:
        """The place of the logit of each label, by the label."""
        return read_label_ids(self)

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return len(read_labels(self))

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"config.json has no {name!r}; config.get({name!r}) gives None instead") from None
