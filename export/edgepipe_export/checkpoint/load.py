"""The checkpoint as PyTorch sees it: fp32, eager attention, evaluation mode, on the CPU."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

from edgepipe.bundle.third_party import is_sentence_encoder
from edgepipe.errors import CheckpointError, first_line
from edgepipe_export.checkpoint.model_inputs import add_token_types
from edgepipe_export.checkpoint.tokenizer_conversion.convert import convert_to_fast
from edgepipe_export.checkpoint.unsupported import list_lost_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgepipe_export.checkpoint.resolve import Checkpoint


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint in memory.

    Attributes:
        checkpoint: Where it came from.
        model: The model; ours to change, never the caller's own object.
        tokenizer: The tokenizer that goes with it.
    """

    checkpoint: Checkpoint
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load(checkpoint: Checkpoint) -> LoadedCheckpoint:
    """Load model and tokenizer.

    Raises:
        CheckpointError: weights are missing, damaged or of another model, or there is no fast tokenizer.
    """
    request = checkpoint.request
    if checkpoint.directory is not None:
        model = _load_model(checkpoint)
    else:
        _require_encoder(checkpoint, request.model)
        model = _copy(request.model)
    model.eval()
    model.requires_grad_(False)
    _fix_call_dependent_choices(model, generates=checkpoint.task.generates)
    tokenizer = _load_tokenizer(checkpoint)
    if checkpoint.task.token_types:
        tokenizer = add_token_types(tokenizer, model)
    return LoadedCheckpoint(checkpoint, model, tokenizer)


def auto_class(auto_model: str, model_type: str) -> str:
    """The auto class that loads a model type for a task: of an encoder-decoder's body, where it can, the encoder alone.

    T5's body writes text and needs its beginning; what embeds texts, as sentence-T5 does, is its encoder.
    """
    return "AutoModelForTextEncoding" if auto_model == "AutoModel" and encoder_of(model_type) else auto_model


def encoder_of(model_type: str) -> str | None:
    """The class of the encoder of an encoder-decoder that transformers has a class for."""
    name: str = MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(model_type, "")
    return name if name.endswith("EncoderModel") else None


def _require_encoder(checkpoint: Checkpoint, model: Any) -> None:
    encoder = encoder_of(model.config.model_type)
    if checkpoint.task.auto_model == "AutoModel" and encoder not in (None, type(model).__name__):
        raise CheckpointError(
            f"{type(model).__name__} writes text, and {checkpoint.task.name} reads its encoder alone; load the "
            f"checkpoint with transformers.{encoder}.from_pretrained, or name its directory"
        )


def _copy(model: Any) -> PreTrainedModel:
    own: PreTrainedModel = copy.deepcopy(model).to(device="cpu", dtype=torch.float32)
    own.set_attn_implementation("eager")
    own.config.architectures = [type(own).__name__]
    return own


def _fix_call_dependent_choices(model: PreTrainedModel, *, generates: bool) -> None:
    """Decide once what some models decide call by call, where the results are the same."""
    if not generates:  # a cache that nobody reads
        model.config.use_cache = False
    # From its first text of up to (5 + 2 num_random_blocks) blocks on, BigBird has full attention.
    if hasattr(model.base_model, "set_attention_type"):
        model.base_model.set_attention_type("original_full")


def _load_model(checkpoint: Checkpoint) -> PreTrainedModel:
    request = checkpoint.request
    try:
        config = AutoConfig.from_pretrained(
            checkpoint.directory, trust_remote_code=request.trust_remote_code, local_files_only=True
        )
        auto_model = getattr(transformers, auto_class(checkpoint.task.auto_model, config.model_type))
        model, info = auto_model.from_pretrained(
            checkpoint.directory,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=None if request.allow_pickle else True,
            trust_remote_code=request.trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        # What comes out depends on what is damaged: JSON, safetensors header, shapes, an unknown model type.
        raise CheckpointError(f"{checkpoint.name} cannot be loaded: {_describe(error)}") from error
    _require_all_weights(checkpoint, model, info)
    _require_no_lost_weights(checkpoint, model, info)
    model.config.architectures = [type(model).__name__]
    loaded: PreTrainedModel = model
    return loaded


def _require_all_weights(checkpoint: Checkpoint, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Refuse weights that transformers made up: it only warns that the model "should be trained"."""
    headless = model.base_model is model
    # A checkpoint with another head brings no pooler for the bare encoder, and nothing reads its output.
    missing = sorted(name for name in info["missing_keys"] if not (headless and name.startswith("pooler.")))
    if not missing:
        return
    body = model.base_model_prefix + "."
    head = [name for name in missing if not headless and not name.startswith(body)]
    shown = ", ".join((head or missing)[:3]) + (", …" if len(head or missing) > 3 else "")
    if head:
        raise CheckpointError(
            f"{checkpoint.name} is not fine-tuned for {checkpoint.task.name}: it has no weights for the head of "
            f"{type(model).__name__} ({shown}); fine-tune it first, or export a checkpoint that is"
        )
    raise CheckpointError(
        f"{checkpoint.name} lacks {len(missing)} weights of {type(model).__name__} ({shown}): the files are "
        "incomplete, or belong to another model"
    )


def _require_no_lost_weights(checkpoint: Checkpoint, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Refuse weights that transformers leaves out with a warning, unless the caller asked for what is left."""
    directory = checkpoint.directory
    # Of a checkpoint with a head, features are what was asked for.
    named = checkpoint.request.task is not None or (directory is not None and is_sentence_encoder(directory))
    heads = not checkpoint.task.generates and not (named and model.base_model is model)
    lost = list_lost_weights(model, info["unexpected_keys"], heads=heads)
    if lost:
        shown = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
        raise CheckpointError(
            f"{checkpoint.name} has weights that {type(model).__name__} leaves out ({shown}): name the task that they "
            "are for (task=, --task), or correct config.json; if they are not needed, load the checkpoint with "
            "transformers and save it again, which drops them"
        )


def _load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    request = checkpoint.request
    source = checkpoint.directory if request.tokenizer is None else request.tokenizer
    if isinstance(source, (str, os.PathLike)):
        try:
            loaded = AutoTokenizer.from_pretrained(source, trust_remote_code=request.trust_remote_code)
        except Exception as error:
            raise CheckpointError(f"the tokenizer of {checkpoint.name} cannot be loaded: {_describe(error)}") from error
        _require_vocabulary(source, loaded)
        source = loaded
    if not isinstance(source, PreTrainedTokenizerBase):
        raise CheckpointError(f"{type(source).__name__} is not a tokenizer of transformers")
    return convert_to_fast(source)


def _require_vocabulary(directory: str | os.PathLike[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer without its files: transformers makes one up that knows the special tokens and no word."""
    names = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any(Path(directory, name).is_file() for name in names):
        raise CheckpointError(
            f"{directory} has no tokenizer (none of {', '.join(sorted(names))}); if it is elsewhere, name its "
            "directory with tokenizer="
        )


def _describe(error: Exception) -> str:
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"
