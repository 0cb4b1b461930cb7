"""Which of a tokenizer's arrays a model reads, its name for a cache, and the token types that a tokenizer leaves out.

Token types are added for tasks whose reference is transformers 4, where the tokenizers of transformers 5 make none.
ALBERT, RemBERT, RoFormer, Splinter, XLNet and others read which of two texts a token is from. Their tokenizers in
transformers 5 know it (the post-processor says so) and no longer pass it on, as those of transformers 4 did.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKEN_TYPES = "token_type_ids"

# Tokenizers that did not pass them on in transformers 4 either, though they know them.
_NEVER = ("BigBirdTokenizer",)


def accepted_inputs(model: Module, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the named inputs that the model's ``forward`` takes."""
    parameters = inspect.signature(model.forward).parameters
    return tuple(name for name in names if name in parameters)


def tokens_without_embedding(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[str]:
    """Tokens that were added to a tokenizer, and for which a model was not resized; a text with one fails."""
    size = getattr(model.config.get_text_config(), "vocab_size", None)
    if not isinstance(size, int):
        return []
    return [
        token for token, number in sorted(tokenizer.get_vocab().items(), key=lambda each: each[1]) if number >= size
    ]


def cache_name(model: Module) -> str:
    """What a model calls its cache, as an argument and in what it returns: since transformers 5.24 ``cache``."""
    return "cache" if accepted_inputs(model, ["cache"]) else "past_key_values"


def add_token_types(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer as transformers 4 would have it: a copy that makes the token types it knows and `model` reads.

    A checkpoint whose ``tokenizer_config.json`` names the inputs itself is left alone in both versions.
    """
    names = tokenizer.model_input_names
    said = tokenizer.init_kwargs.get("model_input_names")
    if TOKEN_TYPES in names or said or type(tokenizer).__name__ in _NEVER or not accepted_inputs(model, [TOKEN_TYPES]):
        return tokenizer
    if not any(tokenizer("a", "b", return_token_type_ids=True)[TOKEN_TYPES]):
        return tokenizer
    own = copy.deepcopy(tokenizer)
    own.model_input_names = [names[0], TOKEN_TYPES, *names[1:]]
    return own
