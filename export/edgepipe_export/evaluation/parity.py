"""Parity of an fp32 variant with a reference: the same tokens, tensors and results; export and verify check it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe import Tokenizer
from edgepipe_export.checkpoint.architectures import ARCHITECTURES, Architecture
from edgepipe_export.checkpoint.length_changes import Crossings, plan_crossings
from edgepipe_export.checkpoint.tokenizer_files import find_differences, tokenizer_corpus
from edgepipe_export.evaluation.checks import NOT_COMPARED_BEYOND, Check, describe_options
from edgepipe_export.evaluation.differences import compare_results, compare_tensors
from edgepipe_export.evaluation.tasks import find_evaluation, make_inputs, select_texts
from edgepipe_export.evaluation.tolerances import ABSOLUTE, RELATIVE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from edgepipe_export.evaluation.metrics.confusion import Decisions
    from edgepipe_export.evaluation.predictors import Predictor

    Arrays = Mapping[str, NDArray[Any]]

# Longest random input where the model has no limit, or a very high one: attention needs its square in memory.
_LONGEST = 1024
_TEXTS_A_BATCH = 8
_SHAPES = ((1, 1), (3, 1), (1, 2), (4, 7), (2, 31))

# The form of results under other options shows in a few; every score is compared once anyway.
_INPUTS_A_FORM = 20
_RESULT_BOUND = f"same results, scores within {ABSOLUTE:g}"


@dataclass(frozen=True, slots=True)
class ParityInputs:
    """What a variant and its reference are compared on.

    Attributes:
        texts: The texts, cut to what the model takes.
        inputs: Inputs of the task's pipeline, made of the texts.
        encodings: Padded batches of the texts, int64[batch, length] arrays.
        random: Batches of random ids of many shapes, from one token to the limit, with and without padding.
        crossings: The lengths that random ids go across.
    """

    texts: tuple[str, ...]
    inputs: tuple[Any, ...]
    encodings: tuple[Arrays, ...]
    random: tuple[Arrays, ...]
    crossings: Crossings


def prepare_inputs(
    task: str,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    limit: int | None,
    texts: Sequence[str] | None = None,
) -> ParityInputs:
    """Prepare the inputs of a comparison.

    Args:
        task: Name of the task.
        tokenizer: The bundle's tokenizer.
        config: The bundle's ``config.json``.
        limit: The longest input the model takes; None for no limit.
        texts: Texts to compare on; by default the built-in ones of the task.

    Raises:
        InputError: none of the texts gives an input.
    """
    architecture = ARCHITECTURES.get(str(config.get("model_type")), Architecture())
    separators = architecture.separators_of_questions if find_evaluation(task).asks_questions else 0
    fewest = max(architecture.fewest_tokens(config), 2 * separators)  # half of a row may be padding
    chosen = select_texts(task, tokenizer, limit, texts)
    if fewest > 1 and not separators:
        chosen = tuple(text for text in chosen if len(tokenizer(text)["input_ids"]) >= fewest)
        texts = None if texts is None and find_evaluation(task).built_in_inputs is not None else chosen
    encodings = tuple(
        dict(_encode(chosen[start : start + _TEXTS_A_BATCH], tokenizer, limit, as_pairs=separators > 0))
        for start in range(0, len(chosen), _TEXTS_A_BATCH)
    )
    longest = _LONGEST if limit is None else min(limit, _LONGEST)
    names = tuple(encodings[0])
    crossings = plan_crossings(config, limit)
    shapes = [
        *((batch, length) for batch, length in (*_SHAPES, (1, longest), (2, longest)) if length <= longest),
        *((1, each) for length in crossings.crossed for each in (length, length + 1)),
    ]
    shapes = [(batch, length) for batch, length in shapes if length >= fewest]
    random = tuple(_random_batches(names, config, shapes, separators))
    return ParityInputs(chosen, make_inputs(task, tokenizer, limit, texts), encodings, random, crossings)


def _encode(texts: Sequence[str], tokenizer: Tokenizer, limit: int | None, *, as_pairs: bool) -> Mapping[str, Any]:
    """A padded batch of texts; as pairs, each goes with the next one, as the context of a question."""
    if not as_pairs:
        return tokenizer(list(texts), padding=True, return_tensors="np")
    contexts = [*texts[1:], *texts[:1]]
    return tokenizer(list(texts), contexts, padding=True, truncation=True, max_length=limit, return_tensors="np")


def _random_batches(
    names: Sequence[str], config: Mapping[str, Any], shapes: Sequence[tuple[int, int]], separators: int
) -> Iterator[Arrays]:
    vocabulary = int(config["vocab_size"])
    has_types = int(config.get("type_vocab_size", 2)) > 1
    pad = config["pad_token_id"] if isinstance(config.get("pad_token_id"), int) else 0
    generator = np.random.default_rng(0)
    for batch, length in shapes:
        ids = generator.integers(0, vocabulary, (batch, length))
        ids[ids == pad] = (pad + 1) % vocabulary  # RoBERTa counts positions by what is not padding
        mask = np.ones_like(ids)
        if batch > 1 and length > 1:
            mask[0, length // 2 :] = 0
            mask[1, : length // 3] = 0
            ids[mask == 0] = pad
        _add_end_tokens(ids, mask, config)
        _add_separators(ids, mask, config, separators)
        types = (np.arange(length) >= length // 2) * mask * has_types
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        yield {name: known[name] for name in names if name in known}


def _add_end_tokens(ids: NDArray[np.int64], mask: NDArray[np.int64], config: Mapping[str, Any]) -> None:
    """Put one end-of-sequence token in each row, where the head of an encoder-decoder reads and counts them."""
    end = config.get("eos_token_id")
    if not config.get("is_encoder_decoder") or not isinstance(end, int):
        return
    ids[ids == end] = next(other for other in range(3, -1, -1) if other not in (end, config.get("pad_token_id")))
    rows, length = ids.shape
    ids[np.arange(rows), length - 1 - mask[:, ::-1].argmax(axis=1)] = end


def _add_separators(ids: NDArray[np.int64], mask: NDArray[np.int64], config: Mapping[str, Any], count: int) -> None:
    """Put `count` separators in each row, evenly, and no others; none where the head does not count them."""
    separator = config.get("sep_token_id")
    if count == 0 or not isinstance(separator, int):
        return
    ids[ids == separator] = next(
        other for other in range(3, -1, -1) if other not in (separator, config["pad_token_id"])
    )
    for row, kept in zip(ids, mask, strict=True):
        places = np.flatnonzero(kept)
        row[places[np.linspace(0, len(places) - 1, count).astype(int)]] = separator


def check_tokens(candidate: Tokenizer, reference: PreTrainedTokenizerBase, texts: Sequence[str]) -> Check:
    """Compare tokenizers on the built-in corpus and on `texts`."""
    corpus = (*tokenizer_corpus(), *texts)
    first = next(find_differences(reference, candidate, corpus), None)
    detail = None if first is None else str(first)
    return Check(
        "tokens", "all", "transformers", len(corpus), {}, None, "same ids, masks, offsets", first is None, detail
    )


def check_parity(candidate: Predictor, reference: Predictor, inputs: ParityInputs, task: str) -> list[Check]:
    """Compare an fp32 variant with a reference: it must give every tensor and every result."""
    own = find_evaluation(task)
    *forms, complete = own.options
    few = inputs.inputs[:_INPUTS_A_FORM]
    return [
        add_crossings(_check_batches("tensors, random ids", candidate, reference, inputs.random), inputs.crossings),
        _check_batches("tensors, texts", candidate, reference, inputs.encodings),
        # The form of results only: scores and choices are not read.
        *(_check_results(options, candidate, reference, few, lambda result: {}) for options in forms),
        _check_results(complete, candidate, reference, inputs.inputs, own.read_decisions),
    ]


def count_predictions(inputs: ParityInputs, task: str) -> int:
    """How many tensors and results :func:`check_parity` takes of each predictor."""
    forms = len(find_evaluation(task).options) - 1
    return len(inputs.random) + len(inputs.encodings) + forms * len(inputs.inputs[:_INPUTS_A_FORM]) + len(inputs.inputs)


def _check_batches(what: str, candidate: Predictor, reference: Predictor, batches: Sequence[Arrays]) -> Check:
    pairs = ((reference.tensors(batch), candidate.tensors(batch)) for batch in batches)
    return check_tensors(what, candidate.name, reference.name, len(batches), pairs)


def add_crossings(check: Check, crossings: Crossings) -> Check:
    """A check that says which lengths it crossed, and beyond which it compared nothing."""
    beyond = crossings.beyond
    return replace(
        check,
        detail=str(crossings) or None,
        figures={} if beyond is None else {NOT_COMPARED_BEYOND: float(beyond)},
    )


def check_tensors(
    what: str, candidate: str, reference: str, batches: int, pairs: Iterator[tuple[Arrays, Arrays]]
) -> Check:
    """Compare tensors of an fp32 variant with its reference's.

    Args:
        what: What the check is called.
        candidate: The name of the variant.
        reference: The name of its reference.
        batches: How many batches they are of.
        pairs: The tensors, (expected, got).
    """
    found = compare_tensors(pairs)
    bound = f"{ABSOLUTE:g} + {RELATIVE:g} of the reference"
    return Check(what, candidate, reference, batches, found.largest, None, bound, found.finite and found.close)


def _check_results(
    options: Mapping[str, Any],
    candidate: Predictor,
    reference: Predictor,
    inputs: Sequence[Any],
    read_decisions: Callable[[Any], Decisions],
) -> Check:
    expected, got = reference.results(inputs, options), candidate.results(inputs, options)
    found = compare_results(inputs, expected, got, read_decisions)
    return Check(
        describe_options(options),
        candidate.name,
        reference.name,
        len(inputs),
        {} if found.largest_score is None else {"score": found.largest_score},
        found.agreement,
        _RESULT_BOUND,
        found.first is None,
        found.first,
    )
