"""The checkpoint as PyTorch sees it: fp32, eager attention, evaluation mode, on the CPU."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

from edgepipe.bundle.third_party import is_sentence_encoder
from edgepipe.errors import CheckpointError, convert_panics
from edgepipe_export.checkpoint.architectures import require_exportable
from edgepipe_export.checkpoint.formats import adapters
from edgepipe_export.checkpoint.formats.loading_errors import describe_error, list_some, require_own_files
from edgepipe_export.checkpoint.formats.quantized_weights import ask_dequantized, dequantize
from edgepipe_export.checkpoint.formats.state_dicts import match_names, read_state_dict
from edgepipe_export.checkpoint.formats.weight_shapes import fit_config, make_empty
from edgepipe_export.checkpoint.model_inputs import add_token_types
from edgepipe_export.checkpoint.patches.reformer import set_hash_seed
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
        ExportError: it is of an architecture that cannot be exported; said before the weights are read.
    """
    request = checkpoint.request
    if checkpoint.directory is not None:
        model = _load_model(checkpoint)
    else:
        _require_encoder(checkpoint, request.model)
        model = _copy(request.model)
    model.eval()
    model.requires_grad_(False)
    _fix_call_dependent_choices(checkpoint, model)
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
    own = copy.deepcopy(model).to(device="cpu", dtype=torch.float32)
    if hasattr(own, "merge_and_unload"):  # PEFT's
        own = adapters.merge(own, f"in {type(own).__name__}")
    own.set_attn_implementation("eager")
    own.config.architectures = [type(own).__name__]
    return own


def _fix_call_dependent_choices(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    """Decide once what some models decide call by call, where the results are the same or the caller decides."""
    if not checkpoint.task.generates:  # a cache that nobody reads
        model.config.use_cache = False
    # From its first text of up to (5 + 2 num_random_blocks) blocks on, BigBird has full attention.
    if hasattr(model.base_model, "set_attention_type"):
        model.base_model.set_attention_type("original_full")
    if checkpoint.request.hash_seed is not None:
        set_hash_seed(model, checkpoint.request.hash_seed)


def _load_model(checkpoint: Checkpoint) -> PreTrainedModel:
    request = checkpoint.request
    adapter = checkpoint.directory if checkpoint.base is not None else None
    # What comes beside the weights of the base, or in place of all weights.
    shapes = {} if adapter is None else adapters.read_shapes(adapter)
    weights: Mapping[str, torch.Tensor] = {}
    if checkpoint.state_dict is not None:
        weights = read_state_dict(checkpoint.state_dict)
    try:
        with convert_panics("the checkpoint"):
            config = AutoConfig.from_pretrained(
                checkpoint.config_directory, trust_remote_code=request.trust_remote_code, local_files_only=True
            )
            auto_model = getattr(transformers, auto_class(checkpoint.task.auto_model, config.model_type))
            empty = make_empty(auto_model, config, trust_remote_code=request.trust_remote_code)
    except Exception as error:
        raise _loading_error(checkpoint, error) from error
    # By a model without weights, before weights are read.
    _fix_call_dependent_choices(checkpoint, empty)
    require_exportable(empty)
    try:
        with convert_panics("the checkpoint"):
            if shapes or weights:
                weights = match_names(weights, set(empty.state_dict())) if weights else {}
                found = shapes or {name: tuple(tensor.shape) for name, tensor in weights.items()}
                fit_config(config, empty, found, tokens=bool(weights))
            ask_dequantized(config)
            arguments: dict[str, Any] = {
                "config": config,
                "dtype": torch.float32,
                "attn_implementation": "eager",
                "local_files_only": True,
                "output_loading_info": True,
            }
            if weights:
                arguments["generation_config"] = _read_generation_config(checkpoint)
                model, info = type(empty).from_pretrained(None, state_dict=weights, **arguments)
            else:
                model, info = auto_model.from_pretrained(
                    checkpoint.base or checkpoint.directory,
                    use_safetensors=None if request.allow_pickle else True,
                    trust_remote_code=request.trust_remote_code,
                    ignore_mismatched_sizes=bool(shapes),  # a head for other labels, which the adapter brings
                    **arguments,
                )
            model = dequantize(model)
    except Exception as error:
        raise _loading_error(checkpoint, error) from error
    mismatched = {str(entry[0]) for entry in info.get("mismatched_keys", ())}
    info["missing_keys"] = ({*info["missing_keys"]} | mismatched).difference(shapes)
    _require_all_weights(checkpoint, model, info)
    _require_no_lost_weights(checkpoint, model, info)
    if adapter is not None:
        model = adapters.load_adapter(checkpoint.name, model, adapter, shapes)
    model.config.architectures = [type(model).__name__]
    loaded: PreTrainedModel = model
    return loaded


def _loading_error(checkpoint: Checkpoint, error: Exception) -> CheckpointError:
    # What comes out depends on what is damaged: JSON, safetensors header, shapes, an unknown model type.
    return CheckpointError(f"{checkpoint.name} cannot be loaded: {describe_error(error)}")


def _read_generation_config(checkpoint: Checkpoint) -> GenerationConfig | None:
    """The settings of a base for writing text; None where it has none, and transformers makes them of its config."""
    try:
        return GenerationConfig.from_pretrained(checkpoint.directory, local_files_only=True)
    except OSError:
        return None


def _require_all_weights(checkpoint: Checkpoint, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Refuse weights that transformers made up: it only warns that the model "should be trained"."""
    headless = model.base_model is model
    # A checkpoint with another head brings no pooler for the bare encoder, and nothing reads its output.
    missing = sorted(name for name in info["missing_keys"] if not (headless and name.startswith("pooler.")))
    if not missing:
        return
    body = model.base_model_prefix + "."
    head = [name for name in missing if not headless and not name.startswith(body)]
    shown = list_some(head or missing)
    if head and checkpoint.base is not None:
        raise CheckpointError(
            f"neither the adapter {checkpoint.name} nor its base has all weights of the head of {type(model).__name__} "
            f"({shown}), and each load would draw others; train it again with these modules in modules_to_save"
        )
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
        raise CheckpointError(
            f"{checkpoint.name} has weights that {type(model).__name__} leaves out ({list_some(lost)}): name the task "
            "that they are for (task=, --task), or correct config.json; if they are not needed, load the checkpoint "
            "with transformers and save it again, which drops them"
        )


def _load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    request = checkpoint.request
    source = _find_tokenizer(checkpoint) if request.tokenizer is None else request.tokenizer
    if isinstance(source, (str, os.PathLike)):
        if Path(source).is_dir():
            require_own_files(Path(source))
        try:
            with convert_panics("the tokenizer"):
                loaded = AutoTokenizer.from_pretrained(source, trust_remote_code=request.trust_remote_code)
        except Exception as error:
            raise CheckpointError(
                f"the tokenizer of {checkpoint.name} cannot be loaded: {describe_error(error)}"
            ) from error
        if Path(source).is_dir():
            _require_vocabulary(source, loaded)
        source = loaded
    if not isinstance(source, PreTrainedTokenizerBase):
        raise CheckpointError(f"{type(source).__name__} is not a tokenizer of transformers")
    return convert_to_fast(source)


def _find_tokenizer(checkpoint: Checkpoint) -> Any:
    """The directory of a checkpoint's tokenizer; None for a loaded model. An adapter may have one of its own."""
    own = checkpoint.directory
    if checkpoint.base is None or own is None or (own / "tokenizer_config.json").is_file():
        return own
    return checkpoint.base


def _require_vocabulary(directory: str | os.PathLike[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer without its files: transformers makes one up that knows the special tokens and no word."""
    names = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any(Path(directory, name).is_file() for name in names):
        raise CheckpointError(
            f"{directory} has no tokenizer (none of {', '.join(sorted(names))}); if it is elsewhere, name its "
            "directory with tokenizer="
        )
