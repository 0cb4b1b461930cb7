"""Token types for tasks whose reference is transformers 4, where the tokenizers of transformers 5 make none.

ALBERT, RemBERT, RoFormer, Splinter, XLNet and others read which of two texts a token is from. Their tokenizers in
transformers 5 know it (the post-processor says so) and no longer pass it on, as those of transformers 4 did.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgepipe_export.tracing.encoder import readable_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKEN_TYPES = "token_type_ids"

# Tokenizers that did not pass them on in transformers 4 either, though they know them.
_NEVER = ("BigBirdTokenizer",)


def with_token_types(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer as transformers 4 would have it: a copy that makes the token types it knows and `model` reads.

    A checkpoint whose ``tokenizer_config.json`` names the inputs itself is left alone in both versions.
    """
    names = tokenizer.model_input_names
    said = tokenizer.init_kwargs.get("model_input_names")
    if TOKEN_TYPES in names or said or type(tokenizer).__name__ in _NEVER or not readable_inputs(model, [TOKEN_TYPES]):
        return tokenizer
    if not any(tokenizer("a", "b", return_token_type_ids=True)[TOKEN_TYPES]):
        return tokenizer
    own = copy.deepcopy(tokenizer)
    own.model_input_names = [names[0], TOKEN_TYPES, *names[1:]]
    return own
