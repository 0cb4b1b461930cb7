"""Adapters of PEFT: what was trained beside a model, merged into that model's weights.

An adapter's directory has ``adapter_config.json``, which names the base, and ``adapter_model.safetensors``. Both models
are loaded and merged by PEFT itself; what comes out is compared with the adapted model before it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.loading_errors import describe_error, list_some, read_object
from edgepipe_export.requirements import require_peft

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLED_ADAPTER = "adapter_model.bin"

# What PEFT calls the tasks.
_TASKS = {
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "FEATURE_EXTRACTION": "feature-extraction",
    "CAUSAL_LM": "text-generation",
    "SEQ_2_SEQ_LM": "text2text-generation",
}
_PREFIX = "base_model.model."

# How far the merged model may be from the adapted one, per element: as for a graph and its model.
_ABSOLUTE, _RELATIVE = 1e-4, 1e-3
_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Adapter:
    """What an adapter says of itself.

    Attributes:
        kind: Its kind, as PEFT names it, e.g. ``"LORA"``.
        base: Directory or Hub id of the base model; None where it names none.
        revision: Branch, tag or commit of the base.
        task: The task that it was trained for; None where it does not say.
        architecture: The class of its base model; None where it does not say.
    """

    kind: str
    base: str | None
    revision: str | None
    task: str | None
    architecture: str | None


def read_adapter(name: str, directory: Path) -> Adapter:
    """``adapter_config.json`` of a directory.

    Raises:
        CheckpointError: it cannot be read, or the adapter is of a kind that cannot be merged.
        DependencyError: peft is not installed.
    """
    config = read_object(directory / ADAPTER_CONFIG)
    kind = str(config.get("peft_type"))
    _require_mergeable(name, kind)
    mapping = config.get("auto_mapping")
    return Adapter(
        kind,
        _text(config.get("base_model_name_or_path")),
        _text(config.get("revision")),
        _TASKS.get(str(config.get("task_type"))),
        _text(mapping.get("base_model_class")) if isinstance(mapping, Mapping) else None,
    )


def read_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of an adapter's weights that take the place of the base's, by their names in the base."""
    from peft.utils.save_and_load import load_peft_weights

    weights = load_peft_weights(str(directory), device="cpu")
    return {
        name.removeprefix(_PREFIX).replace(".base_layer.", "."): tuple(tensor.shape) for name, tensor in weights.items()
    }


def load_adapter(
    name: str, model: PreTrainedModel, directory: Path, shapes: Mapping[str, tuple[int, ...]]
) -> PreTrainedModel:
    """Put an adapter into its base model, and merge it.

    Args:
        name: What the adapter is called.
        model: The base, in fp32; it is changed.
        directory: The adapter.
        shapes: What :func:`read_shapes` says of it.

    Raises:
        CheckpointError: the two do not fit, or cannot be merged exactly.
    """
    from peft import PeftModel

    kind = type(model).__name__
    _resize_embeddings(model, directory, shapes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing weights: what is asked for below says which
            adapted = PeftModel.from_pretrained(model, str(directory), torch_device="cpu")
            found = adapted.load_adapter(str(directory), "default", torch_device="cpu")
    except Exception as error:
        # What comes out depends on what does not fit: names of modules, shapes, versions of PEFT.
        raise CheckpointError(f"the adapter {name} does not fit {kind}: {describe_error(error)}") from error
    # PEFT writes some biases twice, the second time by a name that it does not read.
    unread = [key for key in found.unexpected_keys if ".modules_to_save." not in key]
    for names, said in ((found.missing_keys, "lacks weights for"), (unread, "has weights beside")):
        if names:
            some = list_some(sorted(names))
            raise CheckpointError(f"the adapter {name} {said} {kind} ({some}): it is for another base")
    return merge(adapted, name)


def _resize_embeddings(model: PreTrainedModel, directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Make room for tokens that were added: those of embeddings that the adapter has whole, or single ones."""
    import torch

    embeddings = model.get_input_embeddings().weight
    names = [name for name, each in model.named_parameters(remove_duplicate=False) if each is embeddings]
    trained = read_object(directory / ADAPTER_CONFIG).get("trainable_token_indices") or []
    single = [int(each) for some in (trained.values() if isinstance(trained, dict) else [trained]) for each in some]
    rows = next((shapes[name][0] for name in names if name in shapes), max([len(embeddings) - 1, *single]) + 1)
    if rows != len(embeddings):
        with torch.random.fork_rng(devices=[]):  # rows that the adapter does not bring are drawn
            torch.manual_seed(0)
            model.resize_token_embeddings(rows, mean_resizing=False)


def merge(adapted: Any, name: str) -> PreTrainedModel:
    """Merge the adapters of a ``PeftModel`` into its base, and compare the two.

    Args:
        adapted: The model, in fp32; it is changed.
        name: What it is called.

    Raises:
        CheckpointError: PEFT cannot merge it, or the merged model computes something else.
    """
    adapted.eval()
    before = _probe(adapted, adapted.get_base_model().config)
    try:
        merged: PreTrainedModel = adapted.merge_and_unload()
    except Exception as error:
        raise CheckpointError(f"PEFT cannot merge the adapter {name}: {describe_error(error)}") from error
    merged.eval()
    after = _probe(merged, merged.config)
    for key, tensor in before.items():
        if not after[key].allclose(tensor, rtol=_RELATIVE, atol=_ABSOLUTE):
            difference = float((after[key] - tensor).abs().max())
            raise CheckpointError(
                f"the adapter {name} cannot be merged exactly: with it merged, {key} differs by {difference:.2g}; its "
                "kind or its settings do more than to change weights"
            )
    return merged


def _probe(model: Any, config: Any) -> dict[str, torch.Tensor]:
    """What a model gives for one short text that ends as texts do."""
    import torch

    text = config.get_text_config()
    end = text.eos_token_id[0] if isinstance(text.eos_token_id, list) else text.eos_token_id
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, text.vocab_size, (1, _TOKENS), generator=generator)
    if end is not None:
        ids[ids == end] = (end + 1) % text.vocab_size
        ids[0, -1] = end
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in _parameters(model):
        inputs["decoder_input_ids"] = ids
    with torch.no_grad():
        output = model(**inputs)
    return {key: value for key, value in output.items() if isinstance(value, torch.Tensor)}


def _parameters(model: Any) -> Iterable[str]:
    import inspect

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(base.forward).parameters


def _require_mergeable(name: str, kind: str) -> None:
    require_peft()
    import peft
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner

    tuner = {str(each.value): tuner for each, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}.get(kind)
    if tuner is None:
        raise CheckpointError(f"{name} is an adapter of the kind {kind}, which peft {peft.__version__} does not know")
    if not issubclass(tuner, BaseTuner):
        raise CheckpointError(
            f"{name} is an adapter of the kind {kind}, which has tokens or layers of its own in place of changed "
            "weights: it cannot be merged into its base"
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
