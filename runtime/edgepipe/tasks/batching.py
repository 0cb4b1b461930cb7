"""Which pieces go through the graph together: those of like length, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from edgepipe.errors import InputError

# How many batches are read ahead, to find texts of like length among them.
WINDOW = 16
# Padded tokens of a batch, for each of its `batch_size` places: longer texts go in smaller batches.
TOKENS_A_PLACE = 128


class HasPieces(Protocol):
    """Anything that is made of pieces."""

    @property
    def pieces(self) -> Sequence[object]:
        """The pieces."""


AnyRequest = TypeVar("AnyRequest", bound=HasPieces)


def chunks(requests: Iterable[AnyRequest], batch_size: int) -> Iterator[list[AnyRequest]]:
    """Requests in their order, as many at a time as are looked at together: their pieces fill `WINDOW` batches.

    One at a time where `batch_size` is 1. When a request cannot be made, those before it are given first.

    Raises:
        InputError: what making a request raised.
    """
    wanted = batch_size * WINDOW if batch_size > 1 else 1
    source = iter(requests)
    failure: InputError | None = None
    ended = False
    while not ended:
        chunk: list[AnyRequest] = []
        count = 0
        while count < wanted and not ended:
            try:
                request = next(source)
            except StopIteration:
                ended = True
            except InputError as error:
                failure, ended = error, True
            else:
                chunk.append(request)
                count += max(1, len(request.pieces))
        if chunk:
            yield chunk
    if failure is not None:
        raise failure


def batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices of pieces that go through the graph together, the shortest first.

    Args:
        lengths: Tokens of each piece.
        batch_size: Most pieces of a batch; padded, they are `TOKENS_A_PLACE` tokens each on average at most, unless
            it is a single piece.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        too_many = len(batch) == batch_size
        if batch and (too_many or lengths[index] * (len(batch) + 1) > TOKENS_A_PLACE * batch_size):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
