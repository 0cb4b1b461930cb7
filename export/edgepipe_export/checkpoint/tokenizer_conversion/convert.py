"""Tokenizers that transformers runs in Python, as fast ones, proved text by text.

To add one: a function from the tokenizer to its ``tokenizers.Tokenizer``, and a line in ``CONVERSIONS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerFast

from edgepipe.errors import CheckpointError, ExportError
from edgepipe_export.checkpoint.tokenizer_conversion import byt5, m2m_100, marian, prophetnet, word_bpe
from edgepipe_export.checkpoint.tokenizer_files import tokenizer_corpus

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

CONVERSIONS: Mapping[str, Callable[[Any], Tokenizer]] = {
    "BlenderbotSmallTokenizer": word_bpe.blenderbot_small,
    "ByT5Tokenizer": byt5.convert,
    "CTRLTokenizer": word_bpe.ctrl,
    "M2M100Tokenizer": m2m_100.convert,
    "MarianTokenizer": marian.convert,
    "ProphetNetTokenizer": prophetnet.convert,
}

_COPIED_SETTINGS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "model_input_names",
)


def convert_to_fast(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """A fast tokenizer that gives the same ids and the same texts.

    Args:
        tokenizer: Any of transformers'; a fast one is returned as it is.

    Raises:
        CheckpointError: there is no conversion for its class.
        ExportError: its files cannot be converted exactly; the message has the first text that shows it.
    """
    if tokenizer.is_fast:
        return tokenizer
    name = type(tokenizer).__name__
    if name not in CONVERSIONS:
        raise CheckpointError(
            f"{name} is neither a fast tokenizer of transformers nor one of {', '.join(CONVERSIONS)}, and only those "
            "can be written as tokenizer.json"
        )
    special = {key: str(token) for key, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    settings = {key: getattr(tokenizer, key) for key in _COPIED_SETTINGS if getattr(tokenizer, key, None) is not None}
    backend = CONVERSIONS[name](tokenizer)
    added = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
    unnamed = [token for token in added if token not in special.values()]  # M2M-100's languages are found by these
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, extra_special_tokens=unnamed, **special, **settings)
    for text in tokenizer_corpus():
        _prove(tokenizer, fast, text)
    return fast


def _prove(slow: PreTrainedTokenizerBase, fast: PreTrainedTokenizerFast, text: str) -> None:
    for options in ({}, {"truncation": True, "max_length": 12}):
        wanted, got = slow(text, **options), fast(text, **options)
        for key in ("input_ids", "attention_mask"):
            if key == "input_ids" and marian.looks_up_unknown(slow, wanted[key]):
                return
            if wanted[key] != got[key]:
                raise ExportError(
                    f"this {type(slow).__name__} cannot be written as tokenizer.json: {key} of {text!r} would be "
                    f"{got[key]} instead of {wanted[key]}; please report it with the name of the checkpoint"
                )
    ids = slow(text, add_special_tokens=False)["input_ids"]  # with M2M-100's, transformers 5 reads out the language
    texts = [each.decode(ids, skip_special_tokens=True) for each in (slow, fast)]
    if texts[0] != texts[1]:
        raise ExportError(
            f"this {type(slow).__name__} cannot be written as tokenizer.json: the tokens of {text!r} would be read as "
            f"{texts[1]!r} instead of {texts[0]!r}; please report it with the name of the checkpoint"
        )
