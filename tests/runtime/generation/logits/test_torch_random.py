"""Random numbers beside those of torch."""

from __future__ import annotations

import pytest
import torch

from edgepipe.generation.logits.torch_random import random_numbers, randperm

SEEDS = [0, 1, 15485863, 2**32 + 5, 2**64 - 2]


def generator(seed: int) -> torch.Generator:
    return torch.Generator(device="cpu").manual_seed(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_are_those_of_torch(seed: int) -> None:
    expected = torch.randint(0, 2, (5000,), generator=generator(seed))
    assert (random_numbers(seed, 5000) % 2).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 2, 41, 5000])
def test_permutations_are_those_of_torch(seed: int, size: int) -> None:
    expected = torch.randperm(size, generator=generator(seed)).tolist()
    assert randperm(size, seed) == expected
    assert randperm(size, seed, size // 3) == expected[: size // 3]
