"""What the search for tokens asks of a decoder: begin, step, select.

The search knows no graph and no cache, and a decoder knows nothing of scores: the one is tested against
``transformers.generate`` with a decoder in PyTorch, the other against PyTorch's logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray


class Decoding(Protocol):
    """Sequences on their way through a decoder, one a row, and their cache.

    Attributes:
        scores_on_device: Whether scores lie on a device: then :meth:`argmax` and :meth:`top_k` are quicker than to read
            them all.
        cached: How many tokens of the prompt the decoder has from earlier prompts. The first step takes them all the
            same, with one behind them at least, and does not compute them.
    """

    scores_on_device: bool
    cached: int

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Append tokens to every row.

        Args:
            tokens: int64[rows, new]. Decoder-only models take the whole prompt at the first step, encoder-decoders
                what their decoder starts with; later steps one token a row. One row without padding of a decoder that
                `joins` may take its prompt in parts, which gives what the whole gives but for rounding.

        Returns:
            float32[rows, vocabulary], the scores of what follows the last of them. The caller may change it in place;
            the next step may write over it.

        Raises:
            InputError: the rows are longer than the model takes.
        """
        ...

    def step_every(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """As :meth:`step`, but one row of a decoder that `joins` may read several tokens at any time.

        Returns:
            float32[rows, new, vocabulary], the scores of what follows each of them.
        """
        ...

    def forget(self, count: int) -> None:
        """Be as before the last `count` tokens of every row; for a decoder that `joins`."""
        ...

    def argmax(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """As :meth:`step`, but returns only the token with the best score of each row, int64[rows]."""
        ...

    def top_k(self, tokens: NDArray[np.int64], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As :meth:`step`, but returns only the best tokens; for `scores_on_device`.

        Returns:
            Their log-probabilities, float32[rows, count], and the tokens, int64[rows, count], the best first.
        """
        ...

    def select(self, rows: NDArray[np.int64]) -> None:
        """Make the rows those of these indices, int64[kept]: fewer, more, repeated or in another order."""
        ...

    def join(self, other: Self) -> None:
        """Take the rows of another decoding behind the own ones; for a decoder that `joins`.

        Both are past their prompts. Shorter rows get padding on their left, as in a batch of prompts.

        Args:
            other: Another of the same decoder; it is not used again.
        """
        ...

    def keep_prompt(self, most_bytes: int) -> None:
        """Hold the tokens that one row has read for later prompts that begin alike; for a decoder that `joins`.

        Args:
            most_bytes: The most that everything which is held may take then. What was used longest ago goes for it.
        """
        ...

    def drop_padding(self) -> None:
        """Forget columns that are padding in all rows, if they are so many that this is quicker than to go on."""
        ...


class Decoder(Protocol):
    """A bundle's graphs for generation, loaded.

    Attributes:
        directory: The bundle's directory.
        generation_config: Its ``generation_config.json``; empty where there is none.
        dtype: The variant that was loaded.
        max_length: Longest sequence in tokens that the decoder takes, prompt included; None where it has no limit.
        max_source_length: Longest input of the encoder in tokens; None where it has no limit or there is no encoder.
        switch_length: The longest row that does not change the positions of all rows of its batch; None where no row
            does. Rows that are to grow beyond it share a batch only with rows of their length.
        is_encoder_decoder: Whether the inputs go to an encoder of their own.
        reads_padding: Whether padding is read like any token, so that what a row gives depends on its batch.
        mixes_rows: Whether all rows look at the first one, so that inputs go one at a time, and beams in their order.
    """

    directory: Path
    generation_config: Mapping[str, Any]
    dtype: str
    max_length: int | None
    max_source_length: int | None
    switch_length: int | None
    is_encoder_decoder: bool
    reads_padding: bool
    mixes_rows: bool

    @property
    def joins(self) -> bool:
        """Whether its decodings can join, may read their prompts in parts, and can forget their last tokens."""
        ...

    def count_cache_bytes(self, inputs: int, width: int, input_length: int, length: int) -> int:
        """What keys and values of a call take when all its rows are as long as they may get.

        Args:
            inputs: How many inputs there are.
            width: How many rows of each, as beams or sequences.
            input_length: Tokens of the longest input.
            length: Tokens of a row that the decoder reads, those of a decoder-only model's input included.
        """
        ...

    def has_room(self, needed: int) -> bool:
        """Whether so many bytes are free for keys and values at the moment."""
        ...

    def check_room(self, needed: int, what: str, most_bytes: int | None, held: int = 0) -> None:
        """Compare what keys and values need with what they may take.

        Args:
            needed: Bytes, of :meth:`count_cache_bytes`.
            what: Of what, for a message.
            most_bytes: The most that they may take; None for what is free.
            held: Bytes that others hold, and give back before.

        Raises:
            OutOfMemoryError: they need more.
        """
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The checkpoint's ``config.json``."""
        ...

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> Decoding:
        """Begin a row for each input.

        Args:
            input_ids: int64[rows, length], padded on the left for decoder-only models. An encoder-decoder encodes
                them here; a decoder-only model takes them again at the first step.
            attention_mask: int64[rows, length], 0 for padding.
            max_length: How long the rows are going to be, if that is known: the cache is made for as much.

        Raises:
            InputError: the inputs are longer than the model takes.
        """
        ...
