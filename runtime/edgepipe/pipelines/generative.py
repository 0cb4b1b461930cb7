"""What the tasks that write text share: a decoder in place of a graph, batches of prompts, and streamed text."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import ReferenceOption
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import LOGITS
from edgepipe.caller_warnings import warn
from edgepipe.errors import InputError
from edgepipe.generation.config import CHECKS, DEFAULTS, GenerationConfig
from edgepipe.generation.config_sources import generation_config, read_generation_config
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.generate import GeneratedSequence, TokenStreamer, generate, stream
from edgepipe.generation.generate_options import GENERATE_OPTIONS, UNSUPPORTED_OPTIONS
from edgepipe.generation.prompt import is_cut_off, limit_new_tokens
from edgepipe.generation.search.step_independence import reads_ahead
from edgepipe.generation.search.teacher_forcing import force_tokens
from edgepipe.generation.streamer import TextStreamer
from edgepipe.pipelines.base import Outputs, Request, Task
from edgepipe.pipelines.batching import chunks
from edgepipe.pipelines.options import check_options
from edgepipe.pipelines.pipeline_options import CALL_OPTIONS
from edgepipe.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edgepipe.models.decoder.decoding import GraphDecoder


# Options whose processors take the padding of inputs for tokens, in the reference too; and those that do so only where
# new tokens come behind the inputs.
_READERS = ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size", "prefix_allowed_tokens_fn")
_READERS_OF_PROMPTS = (
    "sequence_bias", "no_repeat_ngram_size", "bad_words_ids", "logits_processor", "stopping_criteria",
    "watermarking_config",
)  # fmt: skip

Settings = TypeVar("Settings", bound="GenerationSettings")


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Checked options that all tasks which write text have.

    Attributes:
        tokenizer: Keyword arguments of the tokenizer.
        generation: How tokens are searched for.
        tensors: Whether results are token ids instead of text.
        clean_up: The tokenizer's ``clean_up_tokenization_spaces`` in decoding.
        skip_special_tokens: Whether special tokens are left out of text.
        streamer: What gets the tokens as they come; None for nothing.
        assistant: The decoder that writes ahead; None for none.
    """

    tokenizer: Mapping[str, Any]
    generation: GenerationConfig
    tensors: bool
    clean_up: bool | None
    skip_special_tokens: bool
    streamer: TokenStreamer | None
    assistant: Decoder | None

    @property
    def looks_ahead(self) -> bool:
        """Whether a step may read several tokens."""
        return self.assistant is not None or self.generation.prompt_lookup_num_tokens is not None


class GenerativeTask(Task):
    """A task that writes text. Its options are its own and those of the search for tokens.

    Attributes:
        own_options: Names of the options that are not of the search for tokens.
        defaults: Options of the search that hold where neither the checkpoint nor the caller sets them.
        decoder: The bundle's decoder, which is `model` too.
    """

    outputs = ("logits",)
    window = 4
    own_options: ClassVar[tuple[str, ...]]
    reference_options: ClassVar[Mapping[str, ReferenceOption]] = {**CALL_OPTIONS, **GENERATE_OPTIONS}
    defaults: ClassVar[Mapping[str, Any]] = {}
    model: GraphDecoder

    def __init__(
        self, tokenizer: Tokenizer, model: GraphDecoder, *, task: str | None = None, batch_size: int = 1, **options: Any
    ) -> None:
        self.decoder: Decoder = model
        self._tried_counts: dict[int, bool] = {}
        self._alike: Tokenizer | None = None  # the tokenizer of an assistant that was found to be the same
        super().__init__(tokenizer, model, task=task, batch_size=batch_size, **options)

    @classmethod
    def load(cls, bundle: Bundle, dtype: str | None, session: SessionConfig) -> GraphDecoder:
        """The bundle's decoder; see :meth:`Task.load`.

        Raises:
            InputError: several workers, which the search for tokens does not have.
        """
        if session.workers != 1:
            raise InputError(
                f"workers={session.workers} is for tasks that write no text: leave it out, and call the pipeline from "
                "several threads, with num_threads=1"
            )
        from edgepipe.models.decoder.decoder_loading import load_decoder

        return load_decoder(bundle, dtype, session)

    def task_options(self) -> Mapping[str, Any]:
        """The options of the search that go between the checkpoint's and the caller's."""
        return {}

    def _stream(self, prompt: Any, options: Mapping[str, Any]) -> Generator[str, None, None]:
        """Write text and give each piece of it as soon as it is whole.

        Args:
            prompt: One input.
            options: The task's options; they go before the pipeline's own.

        Returns:
            An iterator of pieces of text, without the prompt; joined they are the new text of the whole result.
            Whoever closes it, or stops reading, ends the search.

        Raises:
            InputError: the prompt or an option cannot be used; several beams, whose text is certain only at the end.
        """
        settings = self.settings(self.merge_options(options)) if options else self._own_settings
        if settings.streamer is not None:
            raise InputError("a stream gives the text itself, and streamer gets its tokens; call the pipeline instead")
        if not self.is_one(prompt):
            raise InputError("a stream has one input, not a list of them; call the pipeline itself, or loop")
        request = self.encode(prompt, settings)
        settings = self._check_lookahead(settings)
        config = self._limit_new_tokens(settings.generation, request)
        self.warn_of_cut(request, options)
        ids, mask = self._pad_prompts([request])
        tokens = stream(self.decoder, ids, mask, config, tokenizer=self.tokenizer, assistant=settings.assistant)
        text = TextStreamer(
            self.tokenizer, skip_special_tokens=settings.skip_special_tokens, clean_up=settings.clean_up
        )
        for token in self.shown_prompt(request):
            text.push(token)
        return _pieces(_watch(tokens, config), text)

    @property
    def streams(self) -> bool:
        """Whether the pipeline's own options let text be streamed: one sequence, and no beams."""
        config: GenerationConfig = self._own_settings.generation
        return config.num_beams == 1 and config.num_return_sequences == 1

    def before_stream(self, prompt: Any) -> str:
        """The beginning of the whole result that a stream leaves out, with the pipeline's own options."""
        return ""

    def shown_prompt(self, request: Request) -> Sequence[int]:
        """Tokens of the prompt that are decoded with the new ones."""
        return ()

    def generation_config(self, options: Mapping[str, Any]) -> GenerationConfig:
        """The options of the search, from the checkpoint, the task and the caller; the last one wins.

        Raises:
            InputError: an option is unknown, has a wrong value or contradicts another.
        """
        names = [name for name in options if name not in UNSUPPORTED_OPTIONS]
        check_options(dict.fromkeys(names), [*self.own_options, *CHECKS], self.name)
        searched = {name: value for name, value in options.items() if name not in self.own_options}
        given = read_generation_config(options.get("generation_config"))
        # A caller's own config takes the place of what a task sets (4.57).
        return generation_config(
            self.decoder,
            {} if given else self.task_options(),
            searched,
            tokenizer=self.tokenizer,
            defaults=self.defaults,
            given=given,
        )

    def merge_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`Task.merge_options`; a call's ``generation_config`` drops the pipeline's options of the search."""
        merged = super().merge_options(options)
        if options.get("generation_config") is None:
            return merged
        dropped = {*CHECKS, *UNSUPPORTED_OPTIONS}
        return {name: value for name, value in merged.items() if name in options or name not in dropped}

    def run_requests(self, requests: Iterable[Request], batch_size: int, settings: Any) -> Iterator[Any]:
        """See :meth:`Task.run_requests`."""
        settings = self._check_lookahead(settings)  # once, so that it warns once
        first = 0
        for chunk in chunks(requests, batch_size, window=self.window, whole_batches=True):
            yield from self._run_chunk(chunk, batch_size, settings, first)
            first += len(chunk)

    def _check_lookahead(self, settings: Settings) -> Settings:
        """The settings without lookahead where that would change what is written, which a warning says."""
        config = settings.generation
        if not settings.looks_ahead:
            return settings
        name, count = "assistant_model", config.num_assistant_tokens
        if settings.assistant is None:
            name, count = "prompt_lookup_num_tokens", config.prompt_lookup_num_tokens or 0
        if config.num_beams == config.num_return_sequences == 1:  # else the checkpoint asks for lookahead, not the call
            if not self.decoder.joins:
                reason = (
                    "this graph cannot read several tokens behind others, or does not run on a processor; leave it out"
                )
            elif self.decoder.dtype != "fp32" or not self._reads_ahead(count + 1):
                reason = (
                    f"the variant {self.decoder.dtype} rounds, so that scores behind a token depend on how many a step "
                    'reads, and other tokens might be written; take dtype="fp32", or leave it out'
                )
            else:
                return settings
            warn(f"{name} has no effect: {reason}")
        return replace(settings, assistant=None, generation=replace(config, prompt_lookup_num_tokens=None))

    def has_tokens_of(self, other: GenerativeTask) -> bool:
        """Whether another pipeline has the same tokens with the same ids; looked at once."""
        if other.tokenizer is not self._alike:
            if other.tokenizer.get_vocab() != self.tokenizer.get_vocab():
                return False
            self._alike = other.tokenizer
        return True

    def _reads_ahead(self, count: int) -> bool:
        """Whether a step may read so many tokens; tried once."""
        if count not in self._tried_counts:
            self._tried_counts[count] = reads_ahead(self.decoder, count)
        return self._tried_counts[count]

    def _run_chunk(self, requests: Sequence[Request], batch_size: int, settings: Any, first: int = 0) -> Iterator[Any]:
        """See :class:`Task`. `first` matters because draws for an input depend on its position in the call."""
        settings = self._check_lookahead(settings)
        generated: list[Sequence[GeneratedSequence]] = [()] * len(requests)
        for batch, config in self._batch_by_length(requests, batch_size, settings):
            ids, mask = self._pad_prompts([requests[index] for index in batch])
            if config.prefix_allowed_tokens_fn is not None:
                config = _count_from(config, first + batch[0], batch_size)
            found = generate(
                self.decoder,
                ids,
                mask,
                config,
                tokenizer=self.tokenizer,
                first_row=first + batch[0],
                streamer=settings.streamer,
                assistant=settings.assistant,
            )
            for index, sequences in zip(batch, found, strict=True):
                generated[index] = sequences
                length = len(requests[index].pieces[0]["input_ids"])
                if any(
                    is_cut_off(each.token_ids, settings.generation, config, self.decoder, length) for each in sequences
                ):
                    warn(
                        f"a text ends where the model's limit of {self.decoder.max_length} tokens is reached; pass a "
                        "shorter prompt to have more"
                    )
        warn_of_unfinished((each.token_ids for sequences in generated for each in sequences), settings.generation)
        # Of a call's first input, and of every `batch_size`th after it, begins a batch of the reference, whose rows are
        # filled up to the longest.
        for start in range(0, len(requests), batch_size):
            batch = list(range(start, min(start + batch_size, len(requests))))
            longest = max(len(each.token_ids) for index in batch for each in generated[index])
            prompt = max(len(requests[index].pieces[0]["input_ids"]) for index in batch)
            for index in batch:
                outputs = {
                    "sequences": self._stack(generated[index], longest, settings.generation),
                    "padding": self._padding_before(requests[index], prompt),
                }
                yield self.decode(requests[index], [outputs], settings)

    def _batch_by_length(
        self, requests: Sequence[Request], batch_size: int, settings: GenerationSettings
    ) -> Iterator[tuple[list[int], GenerationConfig]]:
        """Indices of requests of like length that may write as many tokens, with the options for them.

        Where a longer row would change what a shorter one gives, they are not in one batch.

        The batches are those of the reference, cut from the requests in their order, where more than the tokens of a
        request counts: its position in the call for draws and for a streamer, or its padding for a decoder that reads
        it, whose lengths count it too, and for options that look at all tokens before a new one.
        """
        config = settings.generation
        indices = list(range(len(requests)))
        if self.decoder.reads_padding:
            for batch in _split_batches(indices, 1 if self.decoder.mixes_rows else batch_size):
                longest = max(len(requests[index].pieces[0]["input_ids"]) for index in batch)
                yield batch, limit_new_tokens(config, self.decoder, longest)
            return
        if settings.streamer is not None or self._looks_at_padding(config):
            parts = _split_batches(indices, batch_size)
        elif settings.looks_ahead:  # one row looks ahead at a time
            parts = _split_batches(indices, 1)
        elif config.seed is not None:
            parts = _split_batches(indices, batch_size)
        else:
            parts = iter([sorted(indices, key=lambda index: len(requests[index].pieces[0]["input_ids"]))])
        for part in parts:
            for (each, _), alike in groupby(part, lambda index: self._group(requests[index], config)):
                for batch in _split_batches(alike, batch_size):
                    yield batch, each

    def _looks_at_padding(self, config: GenerationConfig) -> bool:
        """Whether an option looks at all tokens before a new one, padding included, so that this may change it."""
        names = _READERS if self.decoder.is_encoder_decoder else (*_READERS, *_READERS_OF_PROMPTS)
        return any(getattr(config, name) != DEFAULTS[name] for name in names)

    def _group(self, request: Request, config: GenerationConfig) -> tuple[GenerationConfig, tuple[bool, int]]:
        """What requests of one batch have in common: the options, and on which side of the decoder's switch they are.

        The length is that of requests that pass it while they are written; 0 for others.
        """
        limited = self._limit_new_tokens(config, request)
        length, switch = len(request.pieces[0]["input_ids"]), self.decoder.switch_length
        read = length + (limited.max_new_tokens or 0) - 1  # the last new token is not read
        if switch is None or read <= switch:
            return limited, (False, 0)
        return limited, (True, 0 if length > switch else length)

    def compute_outputs(
        self, pieces: Sequence[Mapping[str, list[int]]], following: Sequence[int] = ()
    ) -> Sequence[Outputs]:
        """The logits of each step of a text that is written token by token; see :meth:`Task.compute_outputs`."""
        ids = np.array([pieces[0]["input_ids"]], np.int64)
        steps = force_tokens(self.decoder, ids, np.ones_like(ids), np.array([following], np.int64))
        outputs = [{LOGITS: step[0]} for step in steps]
        for each in outputs:
            self._check_finite(each)
        return outputs

    def _limit_new_tokens(self, config: GenerationConfig, request: Request) -> GenerationConfig:
        return limit_new_tokens(config, self.decoder, len(request.pieces[0]["input_ids"]))

    def _pad_prompts(self, requests: Sequence[Request]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask of prompts, int64[rows, longest]; decoder-only models want the padding on the left."""
        pieces = [request.pieces[0] for request in requests]
        longest = max(len(piece["input_ids"]) for piece in pieces)
        ids = np.full((len(pieces), longest), self.tokenizer.pad_token_id or 0, np.int64)
        mask = np.zeros_like(ids)
        for row, piece in enumerate(pieces):
            length = len(piece["input_ids"])
            columns = slice(0, length) if self.decoder.is_encoder_decoder else slice(longest - length, longest)
            ids[row, columns] = piece["input_ids"]
            mask[row, columns] = piece["attention_mask"]
        return ids, mask

    def _padding_before(self, request: Request, longest: int) -> NDArray[np.int64]:
        """What is before a prompt in a batch with one of so many tokens, int64[tokens]."""
        missing = longest - len(request.pieces[0]["input_ids"])
        pads = self.tokenizer.pad_token_id is not None  # without, the reference has no batches
        return np.full(missing if pads else 0, self.tokenizer.pad_token_id or 0)

    def _stack(
        self, sequences: Sequence[GeneratedSequence], longest: int, config: GenerationConfig
    ) -> NDArray[np.int64]:
        """The sequences of one input as the reference gives them: int64[sequences, longest], padded at their ends."""
        ids = np.full((len(sequences), longest), _padding(config), np.int64)
        for row, each in enumerate(sequences):
            ids[row, : len(each.token_ids)] = each.token_ids
        return ids


def check_streamer(streamer: Any) -> TokenStreamer | None:
    """A streamer, or None.

    Raises:
        InputError: it is something else.
    """
    if streamer is not None and not all(callable(getattr(streamer, name, None)) for name in ("put", "end")):
        raise InputError(f"streamer must have the methods put and end, got {streamer!r:.80}")
    found: TokenStreamer | None = streamer
    return found


def _count_from(config: GenerationConfig, first: int, batch_size: int) -> GenerationConfig:
    """Options whose function is told an input's place in the reference's batch, of a batch that begins with `first`."""
    allowed = config.prefix_allowed_tokens_fn
    assert allowed is not None  # it is called where there is one
    return replace(config, prefix_allowed_tokens_fn=lambda item, ids: allowed((first + item) % batch_size, ids))


def _split_batches(indices: Iterable[int], size: int) -> Iterator[list[int]]:
    source = iter(indices)
    while batch := list(islice(source, size)):
        yield batch


def _padding(config: GenerationConfig) -> int:
    """What fills shorter sequences up: in ``generate`` the padding token, but with beams never the token 0."""
    first_end = config.eos_token_id[0] if config.eos_token_id else 0
    if config.pad_token_id is None or (config.num_beams > 1 and config.pad_token_id == 0):
        return first_end
    return config.pad_token_id


def warn_of_unfinished(texts: Iterable[Sequence[int]], config: GenerationConfig) -> None:
    """Warn once where some of these texts are held to a form, and came to an end before they had it."""
    held = config.constraint
    if held is None:
        return
    cut = next((each for each in texts if not held.accepts(each, config.eos_token_id)), None)
    if cut is not None:
        warn(
            f"a text ends before it is what {held.option} asks for, after {len(cut)} tokens: it is cut off, and not "
            "valid; pass a larger max_new_tokens, or a form that allows shorter texts"
        )


def _watch(tokens: Iterator[int], config: GenerationConfig) -> Iterator[int]:
    """The tokens of a text; a warning at its end where it is held to a form and not whole."""
    if config.constraint is None:
        return tokens

    def watched() -> Generator[int, None, None]:
        seen = []
        try:
            for token in tokens:
                seen.append(token)
                yield token
        finally:
            if isinstance(tokens, Generator):
                tokens.close()
        warn_of_unfinished([seen], config)

    return watched()


def _pieces(tokens: Iterator[int], text: TextStreamer) -> Generator[str, None, None]:
    try:
        for token in tokens:
            if piece := text.push(token):
                yield piece
    finally:
        if isinstance(tokens, Generator):
            tokens.close()
    if piece := text.finish():
        yield piece
