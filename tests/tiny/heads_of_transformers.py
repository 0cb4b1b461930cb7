"""Which heads transformers' auto classes have for the architectures of the tables, and what becomes of each."""

from __future__ import annotations

from transformers.models.auto import modeling_auto

from edgepipe_export.checkpoint.unsupported import HEADS_WITHOUT_TASK
from tests.tiny import TABLES
from tests.tiny.generative import DECODERS, ENCODER_DECODERS, FAMILIES
from tests.tiny.table import ARCHITECTURES, MORE

_NAMES = "_MAPPING_NAMES"

# Those that have a column or a table of their own.
WITH_TASK = {
    *(name.removesuffix(_NAMES) for name in TABLES.values()),
    "MODEL_FOR_CAUSAL_LM",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM",
}

# Those whose classes other auto classes load too.
LOADED_OTHERWISE = {
    "CONFIG": "the table of configs, not of heads",
    "MODEL_FOR_TEXT_ENCODING": "features of T5 and its kin",
    "MODEL_FOR_PRETRAINING": "the head of the task that is named, where the weights have it",
}


def model_types() -> set[str]:
    """Every model type of the tables."""
    return {entry.model_type for entry in (*ARCHITECTURES.values(), *MORE.values(), *FAMILIES.values())}


def find_heads(model_type: str) -> set[str]:
    """The auto classes that have a class for a model type: ``MODEL_FOR_MASKED_LM`` and so on."""
    return {
        name.removesuffix(_NAMES)
        for name, mapping in vars(modeling_auto).items()
        if name.endswith(_NAMES) and isinstance(mapping, dict) and model_type in mapping
    }


def types_that_write(table: str) -> set[str]:
    """The model types with a family of tiny models for an auto class that writes."""
    families = DECODERS if table == "MODEL_FOR_CAUSAL_LM" else ENCODER_DECODERS
    return {entry.model_type for entry in families.values()}


def count_heads_without_task() -> dict[str, int]:
    """How many model types have each head that no pipeline runs, by how its classes end."""
    return {
        ending: sum(table in find_heads(model_type) for model_type in model_types())
        for ending, (table, _) in HEADS_WITHOUT_TASK.items()
    }
