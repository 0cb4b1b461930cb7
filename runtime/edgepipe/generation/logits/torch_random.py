"""Random numbers as torch's generator on a processor gives them, for what must be the same on every machine.

It is a Mersenne Twister that is seeded with the lower 32 bits of a seed, as numpy's ``RandomState`` is. What is made of
its numbers is what ``aten/src/ATen/native`` of torch makes of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_numbers(seed: int, count: int) -> NDArray[np.int64]:
    """The first numbers of ``torch.Generator().manual_seed(seed)``, int64[count], each of 32 bits."""
    generator = np.random.RandomState(seed & 0xFFFFFFFF)
    return np.frombuffer(generator.bytes(4 * count), dtype="<u4").astype(np.int64)


def randperm(size: int, seed: int, count: int | None = None) -> list[int]:
    """The first `count` numbers of ``torch.randperm(size)``, by default all: shuffled as Fisher and Yates do it."""
    steps = min(size - 1, size if count is None else count)
    places = np.arange(steps)
    others = places + random_numbers(seed, steps) % (size - places)
    order = list(range(size))
    for place, other in enumerate(others.tolist()):
        order[place], order[other] = order[other], order[place]
    return order if count is None else order[:count]
