"""A tokenizer that the caller gives in place of a bundle's own: ours, a directory, or an object of transformers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from edgepipe.errors import InputError
from edgepipe.tokenization.loading import CLASS_SETTINGS, load_tokenizer_files
from edgepipe.tokenization.tokenizer import Tokenizer


def read_given_tokenizer(given: Any, tokens: int | None) -> Tokenizer:
    """The tokenizer that stands for what was given.

    Args:
        given: A :class:`~edgepipe.Tokenizer`, a directory with ``tokenizer.json``, or a fast tokenizer of transformers,
            which is saved and read again.
        tokens: How many tokens the model has embeddings for; None where its config does not say.

    Raises:
        BundleError: a file of the directory is missing or damaged.
        InputError: it is something else, or has tokens that the model does not know.
    """
    if isinstance(given, Tokenizer):
        found = given
    elif isinstance(given, (str, os.PathLike)) and Path(given).is_dir():
        found = Tokenizer.from_pretrained(given)
    elif getattr(given, "is_fast", False) and hasattr(given, "save_pretrained"):
        settings = {name: getattr(given, name) for name in CLASS_SETTINGS if hasattr(given, name)}
        with tempfile.TemporaryDirectory(prefix="edgepipe-tokenizer-") as folder:
            given.save_pretrained(folder)
            found = Tokenizer(*load_tokenizer_files(Path(folder), settings))
    else:
        shown = repr(given) if isinstance(given, (str, os.PathLike)) else type(given).__name__
        raise InputError(
            f"tokenizer must be an edgepipe.Tokenizer, a directory with tokenizer.json or a fast tokenizer of "
            f"transformers, got {shown:.80}"
        )
    if tokens is not None and (most := max(found.get_vocab().values())) >= tokens:
        raise InputError(
            f"this tokenizer has the id {most}, and the model has embeddings for {tokens} tokens; take the tokenizer "
            "that the model was trained with"
        )
    return found
