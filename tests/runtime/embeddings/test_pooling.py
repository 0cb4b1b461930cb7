"""Pooling against that of sentence-transformers, on random tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import modules as models

from edgepipe.embeddings.pooling import MODES, normalize, pool
from edgepipe.errors import InputError
from tests.runtime.embeddings.sentence_modules import HIDDEN, LENGTHS, PROMPT, batch


@pytest.mark.parametrize("prompt", [0, PROMPT])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), ("cls", "mean", "max"), ("lasttoken", "weightedmean")])
def test_every_mode(modes: tuple[str, ...], side: str, prompt: int) -> None:
    hidden, mask = batch(side)
    reference = models.Pooling(HIDDEN, modes, include_prompt=False)
    features = {"token_embeddings": hidden, "attention_mask": mask, "prompt_length": prompt}
    expected = reference(features)["sentence_embedding"].numpy()
    got = pool(hidden.numpy(), mask.numpy(), modes, prompt)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_padding_does_not_matter() -> None:
    hidden, mask = (tensor.numpy() for tensor in batch("right"))
    for row, length in enumerate(LENGTHS):
        alone = pool(hidden[row : row + 1, :length], mask[row : row + 1, :length], tuple(MODES))
        np.testing.assert_allclose(pool(hidden, mask, tuple(MODES))[row], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("modes", [("average",), (), ("mean", "MAX")])
def test_unknown_modes(modes: tuple[str, ...]) -> None:
    hidden, mask = (tensor.numpy() for tensor in batch("right"))
    with pytest.raises(InputError, match="one or several of cls, max, mean"):
        pool(hidden, mask, modes)


def test_normalize_with_a_vector_of_length_zero() -> None:
    vectors = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 9), dtype=np.float32))
    vectors[2] = 0
    expected = torch.nn.functional.normalize(vectors, p=2, dim=-1).numpy()
    np.testing.assert_allclose(normalize(vectors.numpy()), expected, rtol=1e-6)
