"""Which pieces go through the graph together: those of like length, so that little padding is computed.

Where results depend on the padding, the batches are those of transformers instead: as many pieces as come one after
another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from edgepipe.errors import InputError

# Batches and tokens that are read ahead, to find texts of like length. The tokens bound the memory, since all outputs
# of a window are held until it is decoded: 16,384 hidden states of 768 take 50 MB.
WINDOW = 32
WINDOW_TOKENS = 16_384

# The cost of a call of the graph on a processor, which reads all weights, in tokens. Measured with one thread: 15 on a
# DistilBERT-base, 8 on a BERT of two layers of 128.
CPU_CALL = 16
# Padded tokens of a batch. A processor is fastest with 128 to 1,024 of them (DistilBERT-base, one thread: 2,000 to
# 2,300 tokens a second); with 4,096, whose activations no cache holds, it is 15 to 30 % slower.
CPU_TOKENS = 1024

# An engine that makes kernels for each shape gets few of them: lengths are rounded up to one of four in every doubling.
# A call of such an engine costs more too: with two threads 110 tokens on a MiniLM of six layers, less on wider models.
_STEP = 8
FEW_SHAPES_CALL = 64

# Other devices are full with larger batches, and a call costs them more: padded tokens for each row of a batch, and a
# call's cost in tokens. Estimates, not measurements.
TOKENS_PER_ROW = 128
DEVICE_CALL = 1024


# Model types whose results depend on the padding behind a text, or before it, though a mask says what it is:
# convolutions and Fourier transforms over the whole row, attention by landmarks or in chunks that are made of the whole
# row, and heads that read the last place.
READ_PADDING = frozenset({"convbert", "fnet", "funnel", "mobilebert", "nystromformer", "reformer", "xlnet", "yoso"})

# Those whose results do not depend on padding before a text either: positions are relative or those of the mask, no
# token sees what is behind it, and the head reads the last place. Others have other positions behind padding.
IGNORE_LEFT_PADDING = frozenset({
    "bloom", "falcon", "gemma", "gemma2", "gemma3_text", "gpt_neox", "gptj", "llama", "mistral", "modernbert-decoder",
    "olmo2", "opt", "phi", "phi3", "phimoe", "qwen2", "qwen3", "smollm3", "stablelm", "starcoder2",
})  # fmt: skip


def reads_padding(model_type: Any, padding_side: str) -> bool:
    """Whether what a model of a type says of a text depends on the padding of its batch."""
    return model_type in READ_PADDING or (padding_side == "left" and model_type not in IGNORE_LEFT_PADDING)


class HasPieces(Protocol):
    """Anything that is made of pieces."""

    @property
    def pieces(self) -> Sequence[Mapping[str, list[int]]]:
        """The pieces, each with its ``input_ids``."""


AnyRequest = TypeVar("AnyRequest", bound=HasPieces)


def chunks(
    requests: Iterable[AnyRequest], batch_size: int, *, window: int = WINDOW, whole_batches: bool = False
) -> Iterator[list[AnyRequest]]:
    """Lists of requests to batch together, in their order: `window` batches or `WINDOW_TOKENS` each.

    One at a time where `batch_size` is 1. When a request cannot be made, those before it are given first. With
    `whole_batches` a list is longer than its tokens allow where it would end within `batch_size` requests.

    Raises:
        InputError: what making a request raised.
    """
    wanted = batch_size * window if batch_size > 1 else 1
    source = iter(requests)
    failure: InputError | None = None
    ended = False
    while not ended:
        chunk: list[AnyRequest] = []
        count = tokens = 0
        while (
            count < wanted and (tokens < WINDOW_TOKENS or (whole_batches and len(chunk) % batch_size > 0)) and not ended
        ):
            try:
                request = next(source)
            except StopIteration:
                ended = True
            except InputError as error:
                failure, ended = error, True
            else:
                chunk.append(request)
                count += max(1, len(request.pieces))
                tokens += sum(len(piece["input_ids"]) for piece in request.pieces)
        if chunk:
            yield chunk
    if failure is not None:
        raise failure


def round_length(length: int) -> int:
    """The length to pad to where few different ones are wanted: 20 up to 512."""
    step = max(_STEP, 1 << max(0, (max(length, 1) - 1).bit_length() - 3))
    return -(-max(length, 1) // step) * step


def batches(
    lengths: Sequence[int], batch_size: int, *, on_cpu: bool = True, few_shapes: bool = False
) -> Iterator[list[int]]:
    """Indices of pieces that go through the graph together, the shortest first.

    Of all ways to cut the pieces, sorted by length, into batches, the one that costs least: a batch costs its tokens,
    padding included, and what a call takes. So a batch may be smaller than allowed, where its pieces would otherwise
    be padded more than another call is worth.

    Args:
        lengths: Tokens of each piece.
        batch_size: Most pieces of a batch.
        on_cpu: Whether the graph runs on a processor: a batch of more than one piece then has `CPU_TOKENS` at most,
            padding included; elsewhere `TOKENS_PER_ROW` for each of its rows.
        few_shapes: Whether the engine makes kernels for each shape.
    """
    call, most = (CPU_CALL, CPU_TOKENS) if on_cpu else (DEVICE_CALL, TOKENS_PER_ROW * batch_size)
    call = FEW_SHAPES_CALL if few_shapes else call
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    costs = [0]  # of the first so many pieces, cut best
    starts = [0]  # where the last batch of them begins
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        rows = min(batch_size, end, max(1, most // max(1, longest)))
        cost, start = min((costs[end - count] + call + longest * count, end - count) for count in range(rows, 0, -1))
        costs.append(cost)
        starts.append(start)
    cuts = [len(order)]
    while cuts[-1]:
        cuts.append(starts[cuts[-1]])
    for end, start in zip(cuts[-2::-1], cuts[:0:-1], strict=True):
        yield order[start:end]
