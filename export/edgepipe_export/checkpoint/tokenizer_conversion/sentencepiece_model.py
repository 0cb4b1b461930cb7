"""What a sentencepiece model says of its pieces, and the steps around it."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Model, Unigram

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.tokenizer_conversion.normal_forms import normalize_as_sentencepiece

SPACE = "▁"
# Before what no text may become: a private character of the last plane.
_HIDDEN = "\U0010fffd"

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
        normalize: What it makes of a text before it is divided.
    """

    kind: int
    scores: dict[str, float]
    charsmap: bytes
    normalize: Callable[[str], str]


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
    return Pieces(kind, scores, rules.precompiled_charsmap, processor.Normalize)


def make_unigram(ids: Mapping[str, int], pieces: Pieces, unk_id: int, plain: Container[str]) -> Unigram:
    """A unigram model whose pieces have ids of their own.

    Args:
        ids: The id of every token. Those that are no piece of the model, and that no text may become, stand in it
            behind a character that no text has.
        pieces: The sentencepiece model.
        unk_id: The id of what is unknown.
        plain: What stands in it as it is beside the pieces.
    """
    lowest = min(pieces.scores.values())  # so that the unknown scores what it does in sentencepiece
    names = {number: token for token, number in ids.items()}
    entries = []
    for number in range(max(names) + 1):
        token = names.get(number, f"<{number}>")
        is_plain = number in names and (token in pieces.scores or token in plain)
        entries.append((token if is_plain else _HIDDEN + token, pieces.scores.get(token, lowest)))
    return Unigram(entries, unk_id=unk_id)


def unhide() -> decoders.Decoder:
    """Takes away what :func:`make_unigram` put before tokens."""
    return decoders.Replace(_HIDDEN, "")


def wrap_model(model: Model, pieces: Pieces, *before: decoders.Decoder) -> Tokenizer:
    """A tokenizer that treats blanks and marks as sentencepiece does.

    Args:
        model: Its model.
        pieces: The sentencepiece model.
        *before: What decodes pieces before they become words.
    """
    tokenizer = Tokenizer(model)
    forms = [normalize_as_sentencepiece(pieces.charsmap, pieces.normalize)] if pieces.charsmap else []
    # Runs of blanks are one, and there are none at the ends; every word has one before it, the first too.
    blanks = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex("^ | $"), "")]
    tokenizer.normalizer = normalizers.Sequence([*forms, *blanks])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    words = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    ends = decoders.Replace(Regex("^ +| +$"), "")
    tokenizer.decoder = decoders.Sequence([*before, words, decoders.Fuse(), ends])
    return tokenizer
