"""What the protocols that ask for vectors have in common: dimensions, similarities, and texts that are too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError
from edgepipe.pipelines.sentence_similarity import SIMILARITIES
from edgepipe.serve.call import Call
from edgepipe.serve.served_model import ServedModel, Vector

Direction = Literal["Left", "Right", "left", "right"]


def limit_texts(call: Call, truncate: bool, direction: Direction | None) -> None:
    """Note what a request wants done with texts that are too long.

    Args:
        call: The request.
        truncate: Whether they are cut; else they are refused.
        direction: On which side; None for the tokenizer's.
    """
    call.cuts = truncate
    if direction is not None:
        call.cut_side = "left" if direction.lower() == "left" else "right"


async def embed_texts(
    model: ServedModel,
    texts: Sequence[str],
    call: Call,
    *,
    normalize: bool = False,
    dimensions: int | None = None,
    prompt_name: str | None = None,
) -> list[Vector]:
    """The vector of each text.

    Returns:
        float32[dimension] each.

    Raises:
        InputError: a text or the prompt cannot be used, or vectors have fewer dimensions.
        RefusedError: see :meth:`ServedModel.run`.
    """
    vectors, _ = await model.embed(
        texts, call, normalize_embeddings=normalize, truncate_dim=dimensions, prompt_name=prompt_name
    )
    if dimensions is not None and any(len(vector) < dimensions for vector in vectors):
        raise InputError(f"dimensions={dimensions} is more than the {len(vectors[0])} of a vector; ask for fewer")
    return vectors


async def compare_sentences(
    model: ServedModel,
    source: str,
    sentences: Sequence[str],
    call: Call,
    *,
    similarity: str = "cosine",
    prompt_name: str | None = None,
) -> NDArray[np.float32]:
    """How near sentences are to another, as the pipeline for sentence similarity says it.

    Returns:
        float32[sentences].

    Raises:
        InputError: a text, the prompt or the similarity cannot be used.
        RefusedError: see :meth:`ServedModel.run`.
    """
    if similarity not in SIMILARITIES:
        raise InputError(f"similarity must be one of {', '.join(SIMILARITIES)}, got {similarity!r:.60}")
    first, *others = await embed_texts(model, [source, *sentences], call, prompt_name=prompt_name)
    return SIMILARITIES[similarity](first, np.stack(others))
