"""Requests that write side by side: they join and leave between tokens, and one step of the decoder serves them all.

Iteration-level scheduling: Yu et al., Orca: A Distributed Serving System for Transformer-Based Generative Models, OSDI
2022. A request has its own options, length, stop and seed, and gets the tokens that it gets alone: each has a
:class:`~edgepipe.generation.search.token_choice.TokenChoice` of its own, by which ``generate`` chooses tokens, too.
Each round, :meth:`ContinuousBatch.step`, is

1. a step of the decoder for all rows that share it, and a token for each;
2. a part of one prompt, alone in a decoding of its own. Once it is read, and has its first token, its row joins the
   others. The shorter rows get masked columns on their left.

**Which requests share.** Those of a decoder that ``joins``: a decoder-only model that the exporter gave a cache, in the
host's memory, which does not read padding or mix rows. A model whose rotary positions change at a length shares among
requests that stay below it. All others (encoder-decoders, XLNet, Reformer, graphs of other tools or without a cache,
caches on a GPU) have a decoding each. So have all requests with ``shares_steps=False``: that is for variants whose
activations are scaled by what is in the batch (dynamic ``int8``). They take one token a round, too, so nobody waits for
another's whole text.

**Which prompts are read in parts.** Those of requests that share. A part behind others gives what the whole prompt
gives but for rounding; tests compare both for each kind of graph. Others are read at once: scales of dynamic ``int8``
are those of all tokens that are read together, and XLNet's tokens see those behind them.

**Which requests wait.** Those beyond `max_rows`, and those whose keys and values have no room beside the others'. What
counts is what a request takes when all its rows are as long as they may get. One without room even alone is refused.

**Which prompts use earlier ones.** With `prefix_bytes` those of requests that share. What they read is held, as far as
there is room, and a prompt that begins alike goes on from there. What was used longest ago goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import check_whole
from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder, Decoding
from edgepipe.generation.prompt import Prompt, check_room, limit_new_tokens, prepare_prompt
from edgepipe.generation.search.sequences import unfinished_rows
from edgepipe.generation.search.token_choice import TokenChoice, TokenLogprobs
from edgepipe.generation.stopping_criteria import StoppingCriteria
from edgepipe.tokenization.tokenizer import Tokenizer

# How many tokens of a prompt are read beside a step.
PROMPT_CHUNK = 64

FinishReason = Literal["stop", "length", "error"]


class Running:
    """A request that was added; the handle by which its tokens are known, and by which it is removed.

    Attributes:
        config: Its options, with what the model leaves room for.
        prompt_tokens: How many tokens it began with.
        cached_tokens: How many of them earlier prompts had read; known once it has its first token.
        unfinished: How many of its sequences are still to be written; 0 once it has left.
    """

    def __init__(
        self, prompt: Prompt, config: GenerationConfig, choice: TokenChoice, *, shares: bool, cache_bytes: int
    ) -> None:
        self.config = config
        self.prompt_tokens = int(prompt.input_ids.shape[1])
        self.cached_tokens = 0
        self.unfinished = config.num_return_sequences
        self._prompt = prompt
        self._choice = choice
        self._shares = shares
        # What is still to be read, int64[rows, tokens].
        self._unread = prompt.ids
        self._cache_bytes = cache_bytes
        # Where its rows are among those that share a decoding, int64[rows].
        self._places = choice.rows


@dataclass(frozen=True, slots=True)
class Step:
    """What a request got in a round.

    Attributes:
        running: The request.
        token: The token; None with an `error`.
        finish_reason: Why the sequence ends with it: "stop" at a token or a text that ends it, "length" at its greatest
            length or out of time, "error" where the request failed; None where it goes on.
        sequence: Which of the request's `num_return_sequences` it belongs to.
        logprobs: What the model itself thought of it, where that is wanted.
        error: Why the whole request failed. The others go on.
    """

    running: Running
    token: int | None
    finish_reason: FinishReason | None = None
    sequence: int = 0
    logprobs: TokenLogprobs | None = None
    error: Exception | None = None


class _Rows:
    """Requests whose rows are those of one decoding.

    Attributes:
        decoding: The rows.
        members: The requests.
        last: What each row reads next, int64[rows, 1].
        is_shared: Whether others may join.
    """

    def __init__(self, decoding: Decoding, members: list[Running], rows: int) -> None:
        self.decoding = decoding
        self.members = members
        self.last: NDArray[np.int64] = np.empty((rows, 1), np.int64)
        self.is_shared = False

    def join(self, other: _Rows) -> None:
        """Take another's requests."""
        self.decoding.join(other.decoding)
        for each in other.members:
            each._places = each._places + len(self.last)
        self.members += other.members
        self.last = np.concatenate([self.last, other.last])

    def select(self, gone: NDArray[np.bool_]) -> None:
        """Have those rows leave, bool[rows]; some stay."""
        kept = unfinished_rows(gone)
        places = np.empty(len(gone), np.int64)
        places[kept] = np.arange(len(kept))
        for each in self.members:
            each._places = places[each._places]
        self.last = self.last[kept]
        self.decoding.select(kept)
        if self.is_shared:
            self.decoding.drop_padding()


class ContinuousBatch:
    """Requests that write side by side, one step of the decoder for all of them at a time; see the module.

    ::

        batch = ContinuousBatch(decoder, tokenizer)
        running = batch.add(ids, config)
        while len(batch):
            for each in batch.step():
                ...  # each.running, each.token, each.finish_reason

    Not for several threads at once: whoever calls :meth:`step` in a thread adds and removes in that thread, too.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        *,
        shares_steps: bool = True,
        max_rows: int = 64,
        prompt_chunk: int | None = PROMPT_CHUNK,
        prefix_bytes: int = 0,
        kv_cache_memory_bytes: int | None = None,
    ) -> None:
        """Begin without requests.

        Args:
            decoder: The loaded graphs.
            tokenizer: The model's; `stop_strings` need it.
            shares_steps: Whether a row gives the same whatever is beside it: False for variants whose activations are
                scaled by what is in the batch.
            max_rows: So many sequences are written at a time; other requests wait for their turn.
            prompt_chunk: How many tokens of a prompt are read in a round; None for all of them.
            prefix_bytes: The most that prompts which were read may take in memory, for those that begin alike; 0 for
                none.
            kv_cache_memory_bytes: The most that keys and values of all requests may take that are written at a time;
                None for what is free.

        Raises:
            InputError: a number is no whole number of at least 1, or of at least 0 for `prefix_bytes`.
        """
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._shares_steps = shares_steps and decoder.joins
        self._max_rows = check_whole("max_rows", max_rows, 1)
        self._chunk = None if prompt_chunk is None else check_whole("prompt_chunk", prompt_chunk, 1)
        self._prefix_bytes = check_whole("prefix_bytes", prefix_bytes, 0)
        most = kv_cache_memory_bytes
        self._most_bytes = None if most is None else check_whole("kv_cache_memory_bytes", most, 1)
        self._waiting: deque[Running] = deque()
        # The request whose prompt is read, and what has read a part of it.
        self._reading: Running | None = None
        self._decoding: Decoding | None = None
        self._groups: list[_Rows] = []

    def __len__(self) -> int:
        """How many requests wait or are written."""
        return len(self._waiting) + (self._reading is not None) + sum(len(group.members) for group in self._groups)

    def add(self, ids: Sequence[int], config: GenerationConfig, *, logprobs: int | None = None) -> Running:
        """Add a request. Its prompt is read in the next rounds, after those of earlier ones.

        Args:
            ids: The prompt's tokens, or those that an encoder reads.
            config: The options. `num_return_sequences` above 1 makes as many sequences, which read the prompt once.
                The clock of `max_time` starts here. Draws are those of the first input of a call.
            logprobs: Of how many of the likeliest tokens the log-probabilities are wanted with each token; None for
                none at all, not even the token's own.

        Raises:
            InputError: it cannot be followed: several beams, no room behind the prompt, more sequences than `max_rows`,
                or what ``generate`` refuses.
            OutOfMemoryError: its keys and values have no room, even when nothing else is written.
        """
        if config.num_beams > 1:
            raise InputError(
                f"num_beams is {config.num_beams}: which beam wins is known only at the end, so beams share no steps; "
                "pass num_beams=1, or call the pipeline itself"
            )
        if config.num_return_sequences > self._max_rows:
            raise InputError(
                f"num_return_sequences is {config.num_return_sequences}, and at most {self._max_rows} sequences are "
                "written at a time; ask for fewer"
            )
        if logprobs is not None:
            check_whole("logprobs", logprobs, 0)
        input_ids = np.array([ids], np.int64)
        limited = limit_new_tokens(config, self._decoder, len(ids))
        prompt = prepare_prompt(self._decoder, input_ids, np.ones_like(input_ids), limited)
        stopping = StoppingCriteria(limited, prompt.longest, self._tokenizer)
        choice = TokenChoice(self._decoder, prompt, limited, stopping, logprobs=logprobs)
        switch = self._decoder.switch_length
        stays_below = switch is None or prompt.longest - 1 <= switch  # the last new token is not read
        shares = self._shares_steps and stays_below
        running = Running(prompt, limited, choice, shares=shares, cache_bytes=self._check_room(prompt, limited))
        self._waiting.append(running)
        return running

    def remove(self, running: Running) -> None:
        """Have a request leave before the next round; nothing where it has left already."""
        running.unfinished = 0
        if running is self._reading:
            self._reading = self._decoding = None
        elif running in self._waiting:
            self._waiting.remove(running)
        else:
            for group in self._groups:
                if running in group.members:
                    self._leave(group, [running])
                    return

    def step(self) -> list[Step]:
        """Go on by a round: a token for each request that is past its prompt, and a part of one prompt.

        A request that fails gets a step with its `error`, and leaves. Where a step of the decoder fails that several
        share, each of them reads its tokens again, alone, and goes on alone: so one that makes it fail does not take
        the others with it.

        Returns:
            The tokens; none in a round that only reads a prompt.
        """
        steps = [each for group in list(self._groups) for each in self._advance(group)]
        return steps + self._read_prompt()

    def _advance(self, group: _Rows) -> list[Step]:
        """A token for each row of a group."""
        failed: dict[Running, Exception] = {}
        try:
            if group.is_shared:
                tokens = self._choose(group, failed)
            else:
                tokens = group.members[0]._choice.advance(group.decoding, group.last)
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the request, and not to the others
            self._groups.remove(group)
            if len(group.members) == 1:
                return [_fail(group.members[0], error)]
            self._wait_again(group.members)
            return []
        return self._append(group, tokens, failed)

    def _choose(self, group: _Rows, failed: dict[Running, Exception]) -> NDArray[np.int64]:
        """The next token of each row, int64[rows]; of requests that fail any."""
        others = [each for each in group.members if not each._choice.takes_likeliest]
        if not others:
            return group.decoding.argmax(group.last)
        scores = group.decoding.step(group.last)
        tokens: NDArray[np.int64] = scores.argmax(axis=1)
        for running in others:
            try:
                tokens[running._places] = running._choice.choose(scores[running._places])
            except Exception as error:  # noqa: BLE001 - likewise
                failed[running] = error
        return tokens

    def _append(self, group: _Rows, tokens: NDArray[np.int64], failed: dict[Running, Exception]) -> list[Step]:
        """Add a token to each row; rows that are finished, and requests that failed, leave."""
        steps: list[Step] = []
        left: list[Running] = []
        gone = np.zeros(len(tokens), dtype=bool)
        group.last = tokens[:, None]
        for running in group.members:
            choice, places = running._choice, running._places
            rows, own = choice.rows.tolist(), tokens[places]
            try:
                if running in failed:
                    raise failed[running]
                kept = choice.append(own)
            except Exception as error:  # noqa: BLE001 - likewise
                steps.append(_fail(running, error))
                gone[places] = True
                left.append(running)
                continue
            reasons: list[FinishReason | None] = [None] * len(rows)
            if kept is not None:
                reasons = ["stop" if ended else "length" for ended in choice.ended.tolist()]
                for place in kept.tolist():
                    reasons[place] = None
                gone[places] = True
                running._places = places[kept]
                gone[running._places] = False
                running.unfinished = len(kept)
                if not running.unfinished:
                    left.append(running)
            found: Sequence[TokenLogprobs | None] = choice.logprobs or [None] * len(rows)
            steps += map(Step, [running] * len(rows), own.tolist(), reasons, rows, found)
        group.members = [each for each in group.members if each not in left] if left else group.members
        if not group.members:
            self._groups.remove(group)
        elif gone.any():
            group.select(gone)
        return steps

    def _leave(self, group: _Rows, left: list[Running]) -> None:
        gone = np.zeros(len(group.last), dtype=bool)
        for running in left:
            gone[running._places] = True
        group.members = [each for each in group.members if each not in left]
        if group.members:
            group.select(gone)
        else:
            self._groups.remove(group)

    def _read_prompt(self) -> list[Step]:
        """Read a part of the prompt whose turn it is; with the last one comes its first token."""
        running = self._reading or self._begin_next()
        if running is None:
            return []
        ids, prompt = running._unread, running._prompt
        decoding, self._decoding = self._decoding, None
        try:
            if decoding is None:
                read = prompt.input_ids if ids is prompt.ids else ids  # an encoder reads other ids
                decoding = self._decoder.begin(read, np.ones_like(read), prompt.longest - 1)
                running.cached_tokens = decoding.cached
            if running._shares and self._chunk is not None and ids.shape[1] > decoding.cached + self._chunk:
                end = decoding.cached + self._chunk
                decoding.step(ids[:, :end])
                running._unread, self._decoding = ids[:, end:], decoding
                return []
            tokens = running._choice.advance(decoding, ids)
            if running._shares and self._prefix_bytes:
                with suppress(MemoryError):  # then later prompts read all
                    decoding.keep_prompt(self._prefix_bytes)
        except Exception as error:  # noqa: BLE001 - likewise
            self._reading = None
            return [_fail(running, error)]
        self._reading = None
        group = _Rows(decoding, [running], len(tokens))
        self._groups.append(group)
        steps = self._append(group, tokens, {})
        if running._shares and running.unfinished:
            self._share(group)
        return steps

    def _begin_next(self) -> Running | None:
        """The request whose prompt is to be read next; None where none waits, or there is no room for its rows."""
        if not self._waiting:
            return None
        rows = sum(len(group.last) for group in self._groups)
        if rows + len(self._waiting[0]._choice.rows) > self._max_rows:
            return None
        if self._groups and not self._has_room(self._waiting[0]._cache_bytes):
            return None
        self._reading = self._waiting.popleft()
        return self._reading

    def _check_room(self, prompt: Prompt, config: GenerationConfig) -> int:
        """What a request's keys and values take; see :func:`~edgepipe.generation.prompt.check_room`."""
        bounds = [bound for bound in (self._most_bytes, config.kv_cache_memory_bytes) if bound is not None]
        bounded = replace(config, kv_cache_memory_bytes=min(bounds, default=None))
        return check_room(self._decoder, prompt, bounded, held=self._count_held())

    def _has_room(self, needed: int) -> bool:
        """Whether so many bytes are left beside those of the requests that run."""
        if self._most_bytes is None:
            return self._decoder.has_room(needed)
        return self._count_held() + needed <= self._most_bytes

    def _count_held(self) -> int:
        running = [each for group in self._groups for each in group.members]
        return sum(each._cache_bytes for each in running)

    def _share(self, group: _Rows) -> None:
        """Have the requests of a group join those that share; without the memory for it they go on alone."""
        shared = next((each for each in self._groups if each.is_shared), None)
        if shared is None:
            group.is_shared = True
            return
        try:
            shared.join(group)
        except MemoryError:
            return
        self._groups.remove(group)

    def _wait_again(self, members: list[Running]) -> None:
        """Have requests read all of their tokens again, alone, before those that wait."""
        for running in reversed(members):
            running._shares = False
            running._unread = running._choice.sequences.ids.copy()
            running._places = np.arange(len(running._choice.rows))
            self._waiting.appendleft(running)


def _fail(running: Running, error: Exception) -> Step:
    running.unfinished = 0
    return Step(running, None, "error", error=error)
