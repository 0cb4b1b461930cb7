"""Parity checks of one variant against a reference; an export and ``edgepipe verify`` run the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe import Tokenizer
from edgepipe.bundle.manifest import Parity
from edgepipe_export.checkpoint.tokenizer_files import differences, tokenizer_corpus
from edgepipe_export.evaluation.differences import ABSOLUTE, RELATIVE, compare_results, compare_tensors
from edgepipe_export.evaluation.predictors import Side
from edgepipe_export.evaluation.task_inputs import Questions, asked, questions, shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    Arrays = Mapping[str, NDArray[Any]]

# Longest random input where the model has no limit, or a very high one: attention needs its square in memory.
_LONGEST = 1024
_TEXTS_A_BATCH = 8

# The form of results under other options shows in a few; every score is compared once anyway.
_INPUTS_A_FORM = 20
_SAME = f"same results, scores within {ABSOLUTE:g}"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An input whose two results are far apart.

    Attributes:
        input: The input, as JSON can hold it.
        reference: The reference's result.
        candidate: The variant's.
        difference: How far apart they are; more than 1 where they decide otherwise.
    """

    input: Any
    reference: Any
    candidate: Any
    difference: float


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a verification.

    Attributes:
        check: What was compared, e.g. ``"tensors, random ids"``.
        dtype: The variant.
        reference: What it was compared with.
        compared: How many batches or texts.
        differences: Largest absolute difference, by tensor name or ``"score"``.
        agreement: Share of texts with the same best label, 0 to 1; None where that has no meaning.
        bound: The bound that decides, in words.
        passed: Whether it held.
        detail: The first difference in words, where one was found.
        figures: What else was measured, by name.
        worst: The inputs whose results are farthest apart, the worst first.
    """

    check: str
    dtype: str
    reference: str
    compared: int
    differences: Mapping[str, float]
    agreement: float | None
    bound: str
    passed: bool
    detail: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    worst: tuple[Disagreement, ...] = ()

    @property
    def max_difference(self) -> float | None:
        """The largest of the differences; None where none was measured."""
        return max(self.differences.values(), default=None)

    def __str__(self) -> str:
        found = [f"{name} differs by up to {value:.2g}" for name, value in self.differences.items()]
        if self.agreement is not None:
            found.append(f"agreement {100 * self.agreement:.1f} %")
        found += [f"{name} {value:.4g}" for name, value in self.figures.items()]
        if self.detail is not None:
            found.append(self.detail)
        return f"{self.dtype} against {self.reference}, {self.check}: {'; '.join(found)} (bound: {self.bound})"


@dataclass(frozen=True, slots=True)
class Material:
    """What the two sides are compared on.

    Attributes:
        texts: The texts, cut to what the model takes.
        inputs: What the task's pipeline is asked, made of the texts.
        encodings: Padded batches of the texts, int64[batch, length] arrays.
        random: Batches of random ids of many shapes, from one token to the limit, with and without padding.
    """

    texts: tuple[str, ...]
    inputs: tuple[Any, ...]
    encodings: tuple[Arrays, ...]
    random: tuple[Arrays, ...]


def make_material(
    task: str,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    limit: int | None,
    texts: Sequence[str] | None = None,
) -> Material:
    """Prepare the inputs of a comparison.

    Args:
        task: Name of the task.
        tokenizer: The bundle's tokenizer.
        config: The bundle's ``config.json``.
        limit: The longest input the model takes; None for no limit.
        texts: Texts to compare on; by default the built-in ones of the task.

    Raises:
        InputError: the task cannot be asked about any of the texts.
    """
    chosen = texts_to_ask(task, tokenizer, limit, texts)
    encodings = tuple(
        dict(tokenizer(list(chosen[start : start + _TEXTS_A_BATCH]), padding=True, return_tensors="np"))
        for start in range(0, len(chosen), _TEXTS_A_BATCH)
    )
    longest = _LONGEST if limit is None else min(limit, _LONGEST)
    names = tuple(encodings[0])
    random = tuple(_random_batches(names, config, longest))
    return Material(chosen, inputs_to_ask(task, tokenizer, limit, texts), encodings, random)


def inputs_to_ask(
    task: str, tokenizer: Tokenizer, limit: int | None, texts: Sequence[str] | None = None
) -> tuple[Any, ...]:
    """What a task's pipeline is asked, of texts or built in, cut to the model's limit; see :func:`make_material`."""
    written = questions(task).written
    if texts is None and written is not None:
        return tuple(written(tokenizer, limit))
    return asked(task, texts_to_ask(task, tokenizer, limit, texts), tokenizer)


def texts_to_ask(
    task: str, tokenizer: Tokenizer, limit: int | None, texts: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The texts that a task is asked about, cut so that question and text fit; see :func:`make_material`."""
    own = questions(task)
    chosen = tuple(own.texts() if texts is None else texts)
    if limit is None:
        return chosen
    return tuple(shortened(text, tokenizer, limit - own.reserved(tokenizer)) for text in chosen)


def _random_batches(names: Sequence[str], config: Mapping[str, Any], longest: int) -> Iterator[Arrays]:
    vocabulary = int(config["vocab_size"])
    has_types = int(config.get("type_vocab_size", 2)) > 1
    pad = config["pad_token_id"] if isinstance(config.get("pad_token_id"), int) else 0
    generator = np.random.default_rng(0)
    for batch, length in ((1, 1), (3, 1), (1, 2), (4, 7), (2, 31), (1, longest), (2, longest)):
        if length > longest:
            continue
        ids = generator.integers(0, vocabulary, (batch, length))
        ids[ids == pad] = (pad + 1) % vocabulary  # RoBERTa counts positions by what is not padding
        mask = np.ones_like(ids)
        if batch > 1 and length > 1:
            mask[0, length // 2 :] = 0
            mask[1, : length // 3] = 0
            ids[mask == 0] = pad
        _end_each(ids, mask, config)
        types = (np.arange(length) >= length // 2) * mask * has_types
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        yield {name: known[name] for name in names if name in known}


def _end_each(ids: NDArray[np.int64], mask: NDArray[np.int64], config: Mapping[str, Any]) -> None:
    """Put one end-of-sequence token in each row, where the head of an encoder-decoder reads and counts them."""
    end = config.get("eos_token_id")
    if not config.get("is_encoder_decoder") or not isinstance(end, int):
        return
    ids[ids == end] = next(other for other in range(3, -1, -1) if other not in (end, config.get("pad_token_id")))
    rows, length = ids.shape
    ids[np.arange(rows), length - 1 - mask[:, ::-1].argmax(axis=1)] = end


def check_tokens(candidate: Tokenizer, reference: PreTrainedTokenizerBase, texts: Sequence[str]) -> Check:
    """Compare tokenizers on the built-in corpus and on `texts`."""
    corpus = (*tokenizer_corpus(), *texts)
    first = next(differences(reference, candidate, corpus), None)
    detail = None if first is None else str(first)
    return Check(
        "tokens", "all", "transformers", len(corpus), {}, None, "same ids, masks, offsets", first is None, detail
    )


def check_exact(candidate: Side, reference: Side, material: Material, task: str) -> list[Check]:
    """Compare an fp32 variant with a reference: it must give every tensor and every result."""
    own = questions(task)
    *forms, complete = own.options
    few = material.inputs[:_INPUTS_A_FORM]
    return [
        _tensor_check("tensors, random ids", candidate, reference, material.random),
        _tensor_check("tensors, texts", candidate, reference, material.encodings),
        *(_form_check(options, candidate, reference, few) for options in forms),
        _score_check(own, complete, candidate, reference, material.inputs),
    ]


def exact_answers(material: Material, task: str) -> int:
    """How many answers :func:`check_exact` asks of each side."""
    forms = len(questions(task).options) - 1
    of_tensors = len(material.random) + len(material.encodings)
    return of_tensors + forms * len(material.inputs[:_INPUTS_A_FORM]) + len(material.inputs)


def _tensor_check(what: str, candidate: Side, reference: Side, batches: Sequence[Arrays]) -> Check:
    found = compare_tensors((reference.tensors(batch), candidate.tensors(batch)) for batch in batches)
    bound = f"{ABSOLUTE:g} + {RELATIVE:g} of the reference"
    passed = found.finite and found.close
    return Check(what, candidate.name, reference.name, len(batches), found.largest, None, bound, passed)


def _form_check(options: Mapping[str, Any], candidate: Side, reference: Side, inputs: Sequence[Any]) -> Check:
    """Compare results as they are, without reading scores and choices out of them."""
    found = compare_results(
        inputs, reference.results(inputs, options), candidate.results(inputs, options), lambda result: {}
    )
    passed = found.first is None
    return Check(named(options), candidate.name, reference.name, len(inputs), {}, None, _SAME, passed, found.first)


def _score_check(
    own: Questions, options: Mapping[str, Any], candidate: Side, reference: Side, inputs: Sequence[Any]
) -> Check:
    found = compare_results(
        inputs, reference.results(inputs, options), candidate.results(inputs, options), own.decisions
    )
    return Check(
        named(options),
        candidate.name,
        reference.name,
        len(inputs),
        {} if found.largest_score is None else {"score": found.largest_score},
        found.agreement,
        _SAME,
        found.first is None,
        found.first,
    )


def read_check(record: Mapping[str, Any]) -> Check:
    """A check as it was, from the plain dictionary that became JSON: there null stands for what is not finite."""
    differences = {name: number_or_infinity(value) for name, value in record["differences"].items()}
    worst = tuple(map(read_disagreement, record.get("worst", ())))
    return Check(**{**record, "differences": differences, "worst": worst})


def read_disagreement(record: Mapping[str, Any]) -> Disagreement:
    """A disagreement as it was, likewise."""
    return Disagreement(**{**record, "difference": number_or_infinity(record["difference"])})


def number_or_infinity(value: float | None) -> float:
    """A number that was read from JSON, where null stands for what is not finite."""
    return math.inf if value is None else value


def named(options: Mapping[str, Any]) -> str:
    """What reports call a pipeline's results under some options."""
    return "pipeline" + "".join(f", {name}={value}" for name, value in options.items())


def parity_of(checks: Sequence[Check], texts: int, seen: int) -> Parity:
    """The checks of one variant as the manifest records them; see :class:`~edgepipe.bundle.manifest.Parity`."""
    tensors: dict[str, float] = {}
    scores: list[float] = []
    for check in checks:
        for name, value in check.differences.items():
            if name == "score":
                scores.append(value)
            else:
                tensors[name] = max(tensors.get(name, 0.0), value)
    agreements = [check.agreement for check in checks if check.agreement is not None]
    return Parity(
        reference=checks[0].reference,
        texts=texts,
        seen=seen,
        max_abs_diff=tensors,
        max_score_diff=max(scores, default=None),
        label_agreement=min(agreements, default=None),
        bound="; ".join(dict.fromkeys(check.bound for check in checks)),
        passed=all(check.passed for check in checks),
        figures={name: value for check in checks for name, value in check.figures.items()},
    )
