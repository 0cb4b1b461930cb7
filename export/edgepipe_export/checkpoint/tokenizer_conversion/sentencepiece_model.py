"""What a sentencepiece model says of its pieces, and the steps around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, decoders, normalizers, pre_tokenizers

from edgepipe.errors import ExportError

SPACE = "▁"

UNIGRAM, BPE = 1, 2
# Types of pieces that text can become: normal ones, and those that users defined. Not the unknown, controls and bytes.
_OF_TEXT = (1, 4)


@dataclass(frozen=True)
class Pieces:
    """A sentencepiece model.

    Attributes:
        kind: UNIGRAM or BPE.
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
    if kind not in (UNIGRAM, BPE) or proto.trainer_spec.byte_fallback:
        raise ExportError("this sentencepiece model splits into words or characters, or falls back to bytes")
    if not (rules.add_dummy_prefix and rules.remove_extra_whitespaces and rules.escape_whitespaces):
        raise ExportError("this sentencepiece model does not treat blanks in the usual way")
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type in _OF_TEXT}
    return Pieces(kind, scores, rules.precompiled_charsmap)


def normalizer(pieces: Pieces) -> normalizers.Normalizer:
    """Normal forms, and runs of blanks as one, none at the ends."""
    blanks = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex("^ | $"), "")]
    # sentencepiece composes marks by itself. The step that reads its table looks at a letter with all its marks, and
    # does not.
    forms = [normalizers.NFC(), normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    return normalizers.Sequence([*forms, *blanks])


def pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """A blank before every word, the first one too."""
    return pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")


def decoder(*before: decoders.Decoder) -> decoders.Decoder:
    """Pieces to text."""
    words = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return decoders.Sequence([*before, words, decoders.Fuse(), decoders.Replace(Regex("^ +| +$"), "")])
