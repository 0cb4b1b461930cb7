"""ProphetNet: BERT's words and pieces, and one separator at the end."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.tokenizer_conversion.special_tokens import special_tokens


def convert(tokenizer: Any) -> Tokenizer:
    """A ProphetNet tokenizer.

    Raises:
        ExportError: it does not split words, or not all of them.
    """
    if not tokenizer.do_basic_tokenize or tokenizer.init_kwargs.get("never_split"):
        raise ExportError("this ProphetNetTokenizer leaves words unsplit")
    words = tokenizer.basic_tokenizer
    backend = Tokenizer(WordPiece(vocab=dict(tokenizer.vocab), unk_token=tokenizer.unk_token))
    plain = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=words.tokenize_chinese_chars,
        strip_accents=words.strip_accents,
        lowercase=words.do_lower_case,
    )
    # Python's cleaning also takes out what is no character at all.
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex("[\\uFDD0-\\uFDEF\\uFFFE\\uFFFF]"), ""), plain]
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.add_special_tokens(special_tokens(tokenizer))
    end = tokenizer.sep_token
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.sep_token_id)]
    )
    return backend
