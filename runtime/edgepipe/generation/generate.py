"""From inputs to tokens: the search that the options ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.prompt import Prompt, check_room, prepare_prompt
from edgepipe.generation.search.assistant import AssistedCandidateGenerator
from edgepipe.generation.search.beam_search import beam_search
from edgepipe.generation.search.diverse_beam_search import diverse_beam_search
from edgepipe.generation.search.greedy_search import greedy_search
from edgepipe.generation.search.lookahead_search import CandidateGenerator, lookahead_search
from edgepipe.generation.search.prompt_lookup import PromptLookupCandidateGenerator
from edgepipe.generation.stopping_criteria import StoppingCriteria
from edgepipe.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class GeneratedSequence:
    """One generated sequence.

    Attributes:
        token_ids: What a decoder-only model added to its prompt, or all that the decoder of an encoder-decoder read
            and wrote, its start included. Ends with the token that ended it, if one did; never padded.
        score: A beam's score, its log-probability divided by the length penalty; None without beams.
    """

    token_ids: list[int]
    score: float | None = None


class TokenStreamer(Protocol):
    """Gets tokens as they come, as the streamers of transformers do; theirs are some.

    What transformers gives as tensors of PyTorch are arrays of numpy here.
    """

    def put(self, value: NDArray[np.int64]) -> None:
        """Take tokens: first what new ones are added to, int64[rows, length], then those of each step, int64[rows]."""
        ...

    def end(self) -> None:
        """Know that no more tokens come."""
        ...


def generate(
    decoder: Decoder,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    *,
    tokenizer: Tokenizer | None = None,
    first_row: int = 0,
    streamer: TokenStreamer | None = None,
    assistant: Decoder | None = None,
) -> list[list[GeneratedSequence]]:
    """Generate for a batch of inputs, as transformers' ``generate`` does.

    Args:
        decoder: The loaded graphs.
        input_ids: int64[rows, tokens]; those of decoder-only models are padded on the left.
        attention_mask: 0 for padding, int64[rows, tokens].
        config: The options.
        tokenizer: The model's; only `stop_strings` needs it.
        first_row: How many inputs came before these. With a `seed`, what an input gets then depends on its place
            alone, not on the size of batches.
        streamer: Gets each step's tokens, of all rows at once; of those that are finished the padding token.
        assistant: Writes ahead what the decoder checks, where there is one row; see
            :class:`~edgepipe.generation.search.assistant.AssistedCandidateGenerator`.

    Returns:
        For each input `num_return_sequences` sequences, the best first where there are beams.

    Raises:
        InputError: the inputs leave no room for a new token, or an option does not fit the model.
        OutOfMemoryError: there is no memory for the keys and values of so many and so long texts.
    """
    stopping, prompt = _begin(decoder, input_ids, attention_mask, config, tokenizer, assistant)
    starts = [row.tolist() if decoder.is_encoder_decoder else [] for row in prompt.ids]
    if config.num_beams > 1:
        if streamer is not None:
            raise _unstreamable_error(config)
        if config.num_beam_groups > 1:
            found = diverse_beam_search(decoder, prompt, config, stopping)
        else:
            found = beam_search(decoder, prompt, config, stopping, first_row)
        return [
            [GeneratedSequence(start + beam.tokens, beam.score) for beam in beams[: config.num_return_sequences]]
            for start, beams in zip(starts, found, strict=True)
        ]
    width = config.num_return_sequences
    ids = [list(start) for start in starts for _ in range(width)]
    if streamer is not None:
        streamer.put(np.repeat(prompt.ids, width, axis=0))
    for rows, tokens in _search(decoder, prompt, config, stopping, first_row, assistant):
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            ids[row].append(token)
        if streamer is not None:
            of_all = np.full(len(ids), config.pad_token_id or 0)
            of_all[rows] = tokens
            streamer.put(of_all)
    if streamer is not None:
        streamer.end()
    return [[GeneratedSequence(each) for each in ids[row * width : (row + 1) * width]] for row in range(len(starts))]


def stream(
    decoder: Decoder,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    *,
    tokenizer: Tokenizer | None = None,
    first_row: int = 0,
    assistant: Decoder | None = None,
) -> Iterator[int]:
    """Generate for one input, each new token as it comes; closing the iterator ends the search.

    The arguments are those of :func:`generate`, with one row of `input_ids`.

    Raises:
        InputError: at once, before the first token: as for :func:`generate`, or there is more than one sequence.
    """
    if config.num_beams > 1:
        raise _unstreamable_error(config)
    if config.num_return_sequences > 1 or len(input_ids) > 1:
        raise InputError(
            f"num_return_sequences is {config.num_return_sequences} for {len(input_ids)} inputs, but a stream has one "
            "text; pass num_return_sequences=1 and one input, or do not stream"
        )
    stopping, prompt = _begin(decoder, input_ids, attention_mask, config, tokenizer, assistant)
    return (int(tokens[0]) for _, tokens in _search(decoder, prompt, config, stopping, first_row, assistant))


def _search(
    decoder: Decoder,
    prompt: Prompt,
    config: GenerationConfig,
    stopping: StoppingCriteria,
    first_row: int,
    assistant: Decoder | None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The search without beams; see :func:`~edgepipe.generation.search.greedy_search.greedy_search`."""
    candidates = _build_candidates(decoder, prompt, config, assistant)
    if candidates is None:
        return greedy_search(decoder, prompt, config, stopping, first_row)
    return lookahead_search(decoder, prompt, config, stopping, first_row, candidates)


def _build_candidates(
    decoder: Decoder, prompt: Prompt, config: GenerationConfig, assistant: Decoder | None
) -> CandidateGenerator | None:
    """What guesses tokens of one sequence; None where nothing does, or the sequence is to pass a decoder's switch."""
    if len(prompt.ids) * config.num_return_sequences > 1:
        return None
    for each in (decoder, *([] if assistant is None else [assistant])):
        if each.switch_length is not None and prompt.length <= each.switch_length < prompt.longest - 1:
            return None
    if assistant is not None:
        return AssistedCandidateGenerator(assistant, prompt, config)
    if config.prompt_lookup_num_tokens is None:
        return None
    return PromptLookupCandidateGenerator(config.prompt_lookup_num_tokens, config.max_matching_ngram_size)


def _unstreamable_error(config: GenerationConfig) -> InputError:
    return InputError(
        f"num_beams is {config.num_beams}: which beam wins is known only at the end, so there is nothing to stream; "
        "pass num_beams=1, or do not stream"
    )


def _begin(
    decoder: Decoder,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    tokenizer: Tokenizer | None,
    assistant: Decoder | None,
) -> tuple[StoppingCriteria, Prompt]:
    prompt = prepare_prompt(decoder, input_ids, attention_mask, config)
    check_room(decoder, prompt, config, assistant=assistant)
    return StoppingCriteria(config, prompt.longest, tokenizer), prompt
