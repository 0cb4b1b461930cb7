"""What the exporter knows of single architectures, one entry each: what is patched, what is refused, what is special.

To add one: an entry in :data:`ARCHITECTURES`. Functions that it needs go to
:mod:`edgepipe_export.checkpoint.patches`. An architecture without an entry is traced as transformers has it. The
kind of cache that its graph can have is found by asking the model
(:mod:`edgepipe_export.tracing.kv_cache.cached_attention`).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicCache
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.patches.funnel import fewest_funnel_tokens, funnel_patches
from edgepipe_export.checkpoint.patches.model_patches import (
    LastMarkedToken,
    Patches,
    led_patches,
    longformer_patches,
    mbart_patches,
    multiply_conv1d,
    phimoe_patches,
    prophetnet_patches,
    xlnet_patches,
)
from edgepipe_export.checkpoint.patches.reformer import (
    decodes_otherwise,
    hashes_at_random,
    longest_text,
    reformer_patches,
    traced_length,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is particular about a model type.

    Attributes:
        patches: Gives what takes the place of transformers' code while a model is traced.
        refusal: Why it cannot be exported: follows "X cannot be exported exactly: ". None where it can.
        is_refused: Whether a model is one of those; by default all of the type are.
        is_recurrent: Whether its decoder gives the scores of the next token alone, since each token sees later ones.
        steps_differ: Whether a text has other scores than the steps in which it is written, which have no mask.
        decodes_single_tokens: Whether its decoder takes one token at a time, also at the first step, and makes masks as
            large as the keys by itself.
        separators_of_questions: How many separators its head for question answering wants in each text, exactly; 0
            where it does not count them.
        most_tokens: Gives the length of the longest text that transformers takes, by the model's config, where that is
            not to be found by trying; None where it is.
        attends_by_itself: Whether it computes attention past transformers' interface, so that its graph copies its
            cache.
        traced_length: Gives the length of the texts that an encoder is traced with, by the model's config. By default
            it divides nothing.
        fewest_tokens: Gives the length of the shortest text that transformers takes, by the model's config.
    """

    patches: Callable[[PreTrainedModel], Patches] = lambda model: {}
    refusal: str | None = None
    is_refused: Callable[[Any], bool] = lambda model: True
    decodes_single_tokens: bool = False
    separators_of_questions: int = 0
    most_tokens: Callable[[Any], int] | None = None
    traced_length: Callable[[Any], int] = lambda config: 11
    fewest_tokens: Callable[[Mapping[str, Any]], int] = lambda config: 1
    is_recurrent: bool = False
    steps_differ: bool = False
    attends_by_itself: bool = False


def _has_last_token_head(model: PreTrainedModel) -> bool:
    decides_by_last = type(model).__name__.endswith("ForSequenceClassification") and hasattr(model, "score")
    return decides_by_last and model.config.get_text_config().pad_token_id is None


def _writes_as_an_encoder(model: PreTrainedModel) -> bool:
    """Whether a head that writes is on an encoder: on what has a head for masks too, unless its config says more."""
    config = model.config
    kind = config.model_type
    if (
        kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind) != type(model).__name__
    ):
        return False
    return kind != "xlm" and not config.is_decoder  # XLM has one class for both


def _wants_decoder_inputs(model: PreTrainedModel) -> bool:
    """Whether an encoder-decoder without a head takes no text alone; BART's and T5's decoders read the encoder's."""
    if not getattr(model.config, "is_encoder_decoder", False) or model.base_model is not model or model.can_generate():
        return False
    token = 0 if getattr(model.config, "pad_token_id", None) == 1 else 1  # mBART looks for the last that is no padding
    try:
        with torch.no_grad():
            model(input_ids=torch.full((1, 2), token, dtype=torch.int64, device=model.device))
    except ValueError:
        return True
    except RuntimeError:
        if model.device.type != "meta":
            raise
        # Without weights some code stops at a number that depends on them; the model with them is asked again.
    return False


def _rope_types(config: Any) -> set[str]:
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    each_kind = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    return {str(each.get("rope_type")) for each in each_kind}


# Layers of a cache by the names of their classes: versions of transformers differ in which of them there are.
_KEYS_AND_VALUES = {"DynamicLayer", "DynamicSlidingWindowLayer"}
_RECURRENT = "LinearAttentionCacheLayerMixin"


def _cache_layers(model: PreTrainedModel) -> Sequence[Any]:
    """The layers of a decoder's cache, as transformers makes it of the config; none where it is no decoder."""
    config = model.config
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or not hasattr(config, "num_hidden_layers"):
        return ()
    layers: Sequence[Any] = () if config.is_encoder_decoder else DynamicCache(config=config).layers
    return layers


def _keeps_states(model: PreTrainedModel) -> bool:
    """Whether the cache of a model that writes has more than keys and values of each layer, or less."""
    return model.can_generate() and not {type(layer).__name__ for layer in _cache_layers(model)} <= _KEYS_AND_VALUES


def _scans(model: PreTrainedModel) -> bool:
    """Whether a model that does not write has recurrences; LFM2's convolutions are none."""
    if model.can_generate():
        return False
    kinds = getattr(model.config, "layer_types", None) or ()
    recurrent = sum(_RECURRENT in (kind.__name__ for kind in type(layer).__mro__) for layer in _cache_layers(model))
    return recurrent > list(kinds).count("conv")


_STATES_ALONE = "it has the states of a recurrence in place of a cache of keys and values"
_COUNTS_TOKENS = (
    "its router leaves tokens out by counting them over a text or a batch (expert_capacity), which edgepipe does not "
    "trace"
)

# By the model_type of config.json.
ARCHITECTURES: dict[str, Architecture] = {
    "jetmoe": Architecture(attends_by_itself=True),
    "dpr": Architecture(
        refusal="it gives one vector for a text, and no hidden states, which feature-extraction returns"
    ),
    "led": Architecture(led_patches),
    "longformer": Architecture(longformer_patches, separators_of_questions=3),
    "mbart": Architecture(mbart_patches),
    "phimoe": Architecture(phimoe_patches),
    "plbart": Architecture(mbart_patches),
    "nllb-moe": Architecture(refusal=_COUNTS_TOKENS),
    "prophetnet": Architecture(
        prophetnet_patches,
        decodes_single_tokens=True,
        refusal="without its encoder it keeps what it read only of texts of one token, so no prompt can be written on",
        is_refused=lambda model: type(model).__name__ == "ProphetNetForCausalLM",
    ),
    "reformer": Architecture(
        reformer_patches,
        refusal=(
            "without hash_seed in config.json transformers itself gives other results at each call, since it draws its "
            "hashes, and without num_buckets the first long text decides how many there are: set both, or pass a "
            "hash_seed (--hash-seed). As a language model, with several chunks before, it sees other tokens at a step "
            "than in a prompt, and with as many heads as a chunk of hashes has tokens transformers itself fails"
        ),
        is_refused=lambda model: hashes_at_random(model) or decodes_otherwise(model),
        steps_differ=True,
        most_tokens=longest_text,
        traced_length=traced_length,
    ),
    "xlnet": Architecture(
        xlnet_patches,
        refusal=(
            "with attn_type uni transformers itself fails on several texts at once, and with bi_data on a single one"
        ),
        is_refused=lambda model: model.config.attn_type != "bi" or model.config.bi_data,
        is_recurrent=True,
        steps_differ=True,
    ),
    "funnel": Architecture(funnel_patches, fewest_tokens=fewest_funnel_tokens),
    "mra": Architecture(refusal="transformers computes its attention on CUDA only, and gives zeros elsewhere"),
    "yoso": Architecture(
        refusal="with use_expectation false it hashes at random, on CUDA only",
        is_refused=lambda model: not model.config.use_expectation,
    ),
    "nystromformer": Architecture(
        refusal=(
            "with num_landmarks other than segment_means_seq_len it takes texts of exactly segment_means_seq_len tokens"
        ),
        is_refused=lambda model: model.config.num_landmarks != model.config.segment_means_seq_len,
    ),
    "xlm": Architecture(
        refusal=(
            "to write with it, transformers puts a mask behind the text at every step and reads what belongs there, "
            "and keeps nothing from step to step; to fill masks, name the task: fill-mask"
        ),
        # One class fills masks too; where it was loaded for those, it has no cache.
        is_refused=lambda model: (
            type(model).__name__ == "XLMWithLMHeadModel" and getattr(model.config, "use_cache", True)
        ),
    ),
    "rwkv": Architecture(refusal=_STATES_ALONE),
    "switch_transformers": Architecture(refusal=_COUNTS_TOKENS),
    "xlstm": Architecture(refusal=_STATES_ALONE),
    "xmod": Architecture(
        refusal="it has an adapter for each language and its config names none; set default_language in config.json",
        is_refused=lambda model: model.config.default_language is None,
    ),
}

# Of any model type.
_LAST_TOKEN_HEAD = Architecture(
    refusal=(
        "its head reads the last token that is not padding, and its config has no pad_token_id, so that PyTorch takes "
        "only one text at a time; set pad_token_id in config.json"
    ),
    is_refused=_has_last_token_head,
)

_DYNAMIC_ROPE = Architecture(
    refusal=(
        "its rope type is dynamic: behind max_position_embeddings, positions depend on the longest text that the model "
        'has read before, in other calls too. Up to there they are those of the rope type "default": write that into '
        "config.json for texts that are no longer"
    ),
    is_refused=lambda model: "dynamic" in _rope_types(model.config),
)

_SEES_LATER_TOKENS = Architecture(
    refusal=(
        "is_decoder is false in config.json, so that its tokens see later ones: each new token changes what all before "
        "it say, and nothing can be kept from step to step; set it to true if it was trained to write"
    ),
    is_refused=_writes_as_an_encoder,
)

_BODY_OF_TWO_TEXTS = Architecture(
    refusal="it gives no features of a text alone, in transformers neither: its decoder wants a text of its own",
    is_refused=_wants_decoder_inputs,
)

_STATES = Architecture(
    refusal=(
        "its cache has something else than keys and values of each layer (the states of convolutions or recurrences, "
        "an index of tokens, or layers that read those of others), and that of a bundle has these alone"
    ),
    is_refused=_keeps_states,
)

_SCAN = Architecture(
    refusal="it computes its recurrence in chunks, and their number depends in Python on the text's length",
    is_refused=_scans,
)

_OF_ANY_TYPE = (_LAST_TOKEN_HEAD, _DYNAMIC_ROPE, _SEES_LATER_TOKENS, _BODY_OF_TWO_TEXTS, _STATES, _SCAN)


def find_architecture(model: PreTrainedModel) -> Architecture:
    """The entry of a model's type; an empty one where there is none."""
    return ARCHITECTURES.get(getattr(model.config, "model_type", ""), Architecture())


def list_refusals() -> list[tuple[str | None, str]]:
    """Model types, None for any, and why they, or some of them, cannot be exported."""
    refusals: list[tuple[str | None, str]] = [
        (model_type, entry.refusal) for model_type, entry in ARCHITECTURES.items() if entry.refusal is not None
    ]
    return [*refusals, *((None, str(entry.refusal)) for entry in _OF_ANY_TYPE)]


def require_exportable(model: PreTrainedModel) -> None:
    """Refuse a model whose graph would not give PyTorch's results for every text.

    Raises:
        ExportError: the model is one; the message has the reason.
    """
    for entry in (find_architecture(model), *_OF_ANY_TYPE):
        if entry.refusal is not None and entry.is_refused(model):
            raise ExportError(f"{type(model).__name__} cannot be exported exactly: {entry.refusal}")


@contextmanager
def patch_model(model: PreTrainedModel) -> Iterator[None]:
    """Put the patches for a model into transformers while the block runs."""
    module = importlib.import_module(type(model).__module__)
    with ExitStack() as stack:
        stack.callback(setattr, Conv1D, "forward", Conv1D.forward)
        Conv1D.forward = multiply_conv1d
        if getattr(model.config, "is_encoder_decoder", False):
            stack.enter_context(LastMarkedToken())
        for path, replacement in find_architecture(model).patches(model).items():
            *parents, name = path.split(".")
            owner = functools.reduce(getattr, parents, module)
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, replacement)
        yield
