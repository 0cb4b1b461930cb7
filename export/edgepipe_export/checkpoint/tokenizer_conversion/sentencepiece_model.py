"""What a sentencepiece model says of its pieces, and the steps around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Model

from edgepipe.errors import ExportError

SPACE = "▁"

UNIGRAM_MODEL, BPE_MODEL = 1, 2
# Types of pieces that text can become: normal ones, and those that users defined. Not the unknown, controls and bytes.
_OF_TEXT = (1, 4)


@dataclass(frozen=True)
class Pieces:
    """A sentencepiece model.

    Attributes:
        kind: UNIGRAM_MODEL or BPE_MODEL.
        scores: The score of every piece that text can become.
        charsmap: Its table of normal forms; empty for none.
    """

    kind: int
    scores: dict[str, float]
    charsmap: bytes


def read_pieces(processor: Any) -> Pieces:
    """The pieces of a ``SentencePieceProcessor``.

    Raises:
        ExportError: the model works in a way that tokenizer.json has no words for.
    """
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(processor.serialized_model_proto())
    kind, rules = proto.trainer_spec.model_type, proto.normalizer_spec
    if kind not in (UNIGRAM_MODEL, BPE_MODEL) or proto.trainer_spec.byte_fallback:
        raise ExportError("this sentencepiece model splits into words or characters, or falls back to bytes")
    if not (rules.add_dummy_prefix and rules.remove_extra_whitespaces and rules.escape_whitespaces):
        raise ExportError("this sentencepiece model does not treat blanks in the usual way")
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type in _OF_TEXT}
    return Pieces(kind, scores, rules.precompiled_charsmap)


def wrap_model(model: Model, pieces: Pieces, *before: decoders.Decoder) -> Tokenizer:
    """A tokenizer that treats blanks and marks as sentencepiece does.

    Args:
        model: Its model.
        pieces: The sentencepiece model.
        *before: What decodes pieces before they become words.
    """
    tokenizer = Tokenizer(model)
    # sentencepiece composes marks by itself. The step that reads its table looks at a letter with all its marks, and
    # does not.
    forms = [normalizers.NFC(), normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    # Runs of blanks are one, and there are none at the ends; every word has one before it, the first too.
    blanks = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex("^ | $"), "")]
    tokenizer.normalizer = normalizers.Sequence([*forms, *blanks])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    words = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    ends = decoders.Replace(Regex("^ +| +$"), "")
    tokenizer.decoder = decoders.Sequence([*before, words, decoders.Fuse(), ends])
    return tokenizer
