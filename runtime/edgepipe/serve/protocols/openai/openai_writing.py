"""What completions and chats share: the options, and texts that are written side by side and cut before a stop text.

A request's texts have a row each in the running batch. Their pieces come in any order, and each text's pieces joined
are what the pipeline writes for its prompt and its seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import LengthError, TaskError
from edgepipe.generation.config_sources import checkpoint_options
from edgepipe.generation.search.token_choice import TokenLogprobs
from edgepipe.pipelines.base import Request
from edgepipe.pipelines.generative import GenerativeTask
from edgepipe.serve.call import Call
from edgepipe.serve.protocols.openai.openai_errors import RequestError
from edgepipe.serve.scheduling.long_inputs import tokenize
from edgepipe.serve.scheduling.text_writer import Writing, Written
from edgepipe.serve.served_model import ServedModel

# Below this a temperature is 0: a division by it overflows.
_COLDEST = 1e-5

_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_StopText = Annotated[str, msgspec.Meta(min_length=1)]

FinishReason = Literal["stop", "length"]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What a stream has beside the text."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class WritingRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields that completions and chats share; None is as if it were not there."""

    model: str
    n: _Count | None = None
    max_tokens: _Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[int, Annotated[float, msgspec.Meta(ge=-100, le=100)]] | None = None
    stop: _StopText | Annotated[list[_StopText], msgspec.Meta(max_length=4)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**62)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    # Not OpenAI's; vLLM and llama.cpp take them by these names.
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    # Beyond these, scores overflow.
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=100)] | None = None

    @property
    def stops(self) -> list[str]:
        """The texts that end a text."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def includes_usage(self) -> bool:
        """Whether a stream tells at its end how many tokens there were."""
        return self.stream_options is not None and self.stream_options.include_usage is True


class PromptTokensDetails(msgspec.Struct):
    """How many of the tokens that went in earlier prompts had read."""

    cached_tokens: int


class Usage(msgspec.Struct):
    """How many tokens went in and came out."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


@dataclass(frozen=True, slots=True)
class WrittenToken:
    """A token of a text.

    Attributes:
        token_id: The token.
        logprobs: What the model thought of it, where that was asked for.
        start: Where the text begins that became whole with it, in characters.
    """

    token_id: int
    logprobs: TokenLogprobs | None
    start: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one of the texts.

    Attributes:
        choice: Which one.
        text: What comes next of it.
        tokens: Whose text it is; the last piece has those without text, too, but not the one that ends the text.
        finish_reason: Why the text ends with it; None where more comes.
        count: How many tokens were written for the text so far.
    """

    choice: int
    text: str
    tokens: Sequence[WrittenToken]
    finish_reason: FinishReason | None
    count: int


class StopCut:
    """Lets a text through up to the first of some texts, and holds back what may be the beginning of one.

    Attributes:
        found: Whether one was there.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def push(self, text: str, *, is_last: bool = False) -> str:
        """What may be shown after more of the text; with the last of it all, but for a stop text."""
        self._held += text
        # The one that is complete first; of several that end there, the longest.
        ends = [(start + len(stop), start) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        self.found = bool(ends)
        cut = min(ends)[1] if ends else len(self._held) - (0 if is_last else self._count_held())
        shown, self._held = self._held[:cut], "" if ends else self._held[cut:]
        return shown

    def _count_held(self) -> int:
        """How many of the last characters are the beginning of a stop text."""
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-size:]
            if any(stop.startswith(end) for stop in self._stops):
                return size
        return 0


class TokenPenalties:
    """Lowers the scores of tokens that were written, once for being there and once for each time: a logits processor.

    ``score -= count * frequency + (count > 0) * presence``, as OpenAI documents it. Tokens of the prompt do not count.
    """

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence, self._frequency = presence, frequency
        self._prompt: int | None = None

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """New scores for the tokens so far, int64[rows, length], and float32[rows, vocabulary]."""
        if self._prompt is None:  # asked for the first new token
            self._prompt = ids.shape[1]
        for row, row_scores in zip(ids[:, self._prompt :], scores, strict=True):
            tokens, counts = np.unique(row[row < row_scores.size], return_counts=True)
            row_scores[tokens] -= (counts * self._frequency + self._presence).astype(np.float32)
        return scores


class Choices:
    """Texts that are being written side by side.

    Attributes:
        prompt_tokens: Of all prompts, each counted once.

    Args:
        model: Writes.
        stops: Texts that end a text.
        ends: Tokens that end a text.
        prompt_tokens: See above.
        texts: How many there are of each prompt.
    """

    def __init__(
        self, model: ServedModel, stops: Sequence[str], ends: Sequence[int], prompt_tokens: int, texts: int
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self._texts = texts
        self._model, self._stops, self._ends = model, stops, ends
        self._writings: list[Writing] = []
        self._calls: list[Call] = []

    async def start(self, prompt: Request, options: Mapping[str, Any], call: Call, logprobs: int | None) -> None:
        """Add a text. It has a call of its own: one that ends takes no other with it."""
        own = replace(call)
        self._calls.append(own)
        self._writings.append(await self._model.write(prompt, options, own, logprobs=logprobs))

    @property
    def cached_tokens(self) -> int:
        """How many of `prompt_tokens` were not read again; known at the end. Of each prompt its first text counts."""
        return sum(each.cached_tokens for each in self._writings[:: self._texts])

    def cancel(self) -> None:
        """Have all rows leave."""
        for call in self._calls:
            call.cancelled = True

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """The pieces of all texts as they come.

        Raises:
            EdgepipeError: what ended one of them. The others end, too.
        """
        queue: asyncio.Queue[Piece | Exception] = asyncio.Queue()

        async def pump(choice: int, writing: Writing) -> None:
            try:
                async for piece in self._write(choice, writing):
                    queue.put_nowait(piece)
            except Exception as error:  # noqa: BLE001 - it is raised where the pieces are read
                queue.put_nowait(error)

        tasks = [asyncio.create_task(pump(*each)) for each in enumerate(self._writings)]
        unfinished = len(tasks)
        try:
            while unfinished:
                piece = await queue.get()
                if isinstance(piece, Exception):
                    raise piece
                unfinished -= piece.finish_reason is not None
                yield piece
        finally:
            self.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, choice: int, writing: Writing) -> AsyncGenerator[Piece, None]:
        """The pieces of one text."""
        cut = StopCut(self._stops)
        written = shown = count = 0
        tokens: list[WrittenToken] = []
        async with aclosing(cast("AsyncGenerator[Written, None]", aiter(writing))) as steps:
            async for step in steps:
                count += 1
                if not (step.finish_reason == "stop" and step.token_id in self._ends):
                    tokens.append(WrittenToken(step.token_id, step.logprobs, written))
                written += len(step.text)
                text = cut.push(step.text, is_last=step.finish_reason is not None)
                shown += len(text)
                finish = "stop" if cut.found else cast("FinishReason | None", step.finish_reason)
                all_shown = finish is not None and not cut.found
                ready = [each for each in tokens if all_shown or each.start < shown]
                tokens = tokens[len(ready) :]
                if text or ready or finish is not None:
                    yield Piece(choice, text, ready, finish, count)
                if finish is not None:
                    return


async def start_choices(
    model: ServedModel,
    prompts: Sequence[Any],
    request: WritingRequest,
    call: Call,
    *,
    field: str,
    most: int | None,
    default: int | None,
    logprobs: int | None = None,
    begin: Sequence[int] = (),
    **options: Any,
) -> Choices:
    """Begin to write `n` texts behind each prompt, those of the first prompt first.

    Args:
        model: Writes.
        prompts: Inputs of its task.
        request: The options.
        call: Whose request it is.
        field: Where the prompts come from.
        most: How many tokens the client wants at most; None where it does not say.
        default: How many without that; None for as many as there is room for.
        logprobs: See :meth:`ServedModel.write`.
        begin: Tokens with which each text begins, behind its prompt; they are not shown.
        **options: More options of the task.

    Raises:
        EdgepipeError: a prompt or option cannot be used, or too much is wanted.
    """
    task = model.task
    if not isinstance(task, GenerativeTask):
        raise TaskError(f"{model.name} is for {task.name} and writes no text; ask a model that does")
    count = request.n or 1
    if count > model.limits.choices:
        raise RequestError(400, f"n is {count}, and at most {model.limits.choices} here; ask for fewer", param="n")
    options = {**options, **search_options(request, task)}
    settings: Any = task.settings(task.merge_options({**options, "max_new_tokens": 1}))
    encode = partial(task.encode_input, settings=settings)
    encoded = [_add_tokens(await _encode(encode, each, field), begin) for each in prompts]
    lengths = [len(each.pieces[0]["input_ids"]) for each in encoded]
    news = [_count_new_tokens(model, task, length, most, default, count) for length in lengths]
    total = count * (sum(lengths) + sum(news))
    model.limits.check_written_tokens(total)
    choices = Choices(model, request.stops, settings.generation.eos_token_id, sum(lengths), count)
    try:
        for prompt, new in zip(encoded, news, strict=True):
            for rank in range(count):
                own = {"max_new_tokens": new} | _own_options(request, rank)
                await choices.start(prompt, options | own, call, logprobs)
    except BaseException:
        choices.cancel()
        raise
    return choices


async def _encode(encode: Callable[[Any], Request], prompt: Any, field: str) -> Request:
    try:
        return await tokenize(encode, prompt)
    except LengthError as error:
        message = f"{str(error).partition(';')[0]}; send less"
        raise RequestError(400, message, code="context_length_exceeded", param=field) from error


def _add_tokens(prompt: Request, tokens: Sequence[int]) -> Request:
    """A prompt with some tokens behind it."""
    if not tokens:
        return prompt
    [piece] = prompt.pieces
    mask = [*piece["attention_mask"], *[1] * len(tokens)]
    return replace(prompt, pieces=[{**piece, "input_ids": [*piece["input_ids"], *tokens], "attention_mask": mask}])


def _count_new_tokens(
    model: ServedModel, task: GenerativeTask, length: int, most: int | None, default: int | None, count: int
) -> int:
    """How many tokens may follow a prompt.

    Raises:
        RequestError: as many as wanted do not fit behind it.
    """
    longest = task.decoder.max_length
    before = 1 if task.decoder.is_encoder_decoder else length
    room = None if longest is None else longest + 1 - before
    if most is None and room is not None and room < 1:  # a call's beginning stands behind the prompt
        most = 1
    if most is None:
        wanted = default
        if wanted is None:
            trained = task.decoder.config.get("max_position_embeddings")
            most_positions = trained - before if isinstance(trained, int) else model.limits.tokens
            wanted = max(1, min(most_positions, model.limits.tokens // count - length))
        return wanted if room is None else min(wanted, room)
    if room is not None and most > room:
        raise RequestError(
            400,
            f"{most} new tokens do not fit behind a prompt of {length}: the model takes {longest}; ask for at most "
            f"{room}, or send less",
            code="context_length_exceeded",
            param="max_tokens",
        )
    return most


def search_options(request: WritingRequest, task: GenerativeTask) -> dict[str, Any]:
    """The options of the search that all texts share.

    What a request does not say is as the bundle says, or as OpenAI has it where that says nothing: draws among all
    tokens, at a temperature of 1.
    """
    own = checkpoint_options(task.decoder) | dict(task.options)
    options: dict[str, Any] = {"num_beams": 1, "num_return_sequences": 1}
    if request.stops:
        options["stop_strings"] = request.stops
    if request.logit_bias:
        options["sequence_bias"] = [[[token], bias] for token, bias in request.logit_bias.items()]
    if request.repetition_penalty is not None:
        options["repetition_penalty"] = request.repetition_penalty
    temperature = request.temperature
    if temperature is None:
        temperature = own.get("temperature", 1.0)
    if isinstance(temperature, (int, float)) and temperature < _COLDEST:
        return {**options, "do_sample": False}
    options |= {"do_sample": True, "temperature": temperature}
    for name, default in (("top_p", 1.0), ("top_k", 0), ("min_p", None)):
        given = getattr(request, name)
        options[name] = own.get(name, default) if given is None else given
    return options


def _own_options(request: WritingRequest, rank: int) -> dict[str, Any]:
    """The options that each of `n` texts has for itself."""
    options: dict[str, Any] = {}
    if request.seed is not None:
        options["seed"] = request.seed + rank
    if request.presence_penalty or request.frequency_penalty:
        penalties = TokenPenalties(request.presence_penalty or 0.0, request.frequency_penalty or 0.0)
        options["logits_processor"] = [penalties]
    return options
