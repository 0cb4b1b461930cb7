"""Parity checks of one variant against a reference; an export and ``edgepipe verify`` run the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe import Tokenizer
from edgepipe.manifest import Parity
from edgepipe_export.compare import ABSOLUTE, RELATIVE, compare_results, compare_tensors
from edgepipe_export.quantize import FP32
from edgepipe_export.samples import sentences, tokenizer_corpus
from edgepipe_export.sides import RESULT_OPTIONS, Side, as_pipeline_options, compared_as
from edgepipe_export.tokenizers import differences

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    Arrays = Mapping[str, NDArray[Any]]

# Longest random input where the model has no limit, or a very high one: attention needs its square in memory.
_LONGEST = 1024
_TEXTS_A_BATCH = 8

# The form of results under other options shows in a few; every score is compared once anyway.
_TEXTS_A_FORM = 20


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

    @property
    def max_difference(self) -> float | None:
        """The largest of the differences; None where none was measured."""
        return max(self.differences.values(), default=None)

    def __str__(self) -> str:
        found = [f"{name} differs by up to {value:.2g}" for name, value in self.differences.items()]
        if self.agreement is not None:
            found.append(f"label agreement {100 * self.agreement:.1f} %")
        if self.detail is not None:
            found.append(self.detail)
        return f"{self.dtype} against {self.reference}, {self.check}: {'; '.join(found)} (bound: {self.bound})"


@dataclass(frozen=True, slots=True)
class Material:
    """What the two sides are compared on.

    Attributes:
        texts: The texts.
        encodings: Padded batches of the texts, int64[batch, length] arrays.
        random: Batches of random ids of many shapes, from one token to the limit, with and without padding.
        options: Pipeline options for every text; truncation, if one of them is too long for the model.
    """

    texts: tuple[str, ...]
    encodings: tuple[Arrays, ...]
    random: tuple[Arrays, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def make_material(
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    limit: int | None,
    texts: Sequence[str] | None = None,
) -> Material:
    """Prepare the inputs of a comparison.

    Args:
        tokenizer: The bundle's tokenizer.
        config: The bundle's ``config.json``.
        limit: The longest input the model takes; None for no limit.
        texts: Texts to compare on; by default the built-in sentences.
    """
    chosen = tuple(sentences() if texts is None else texts)
    too_long = limit is not None and any(len(tokenizer(text)["input_ids"]) > limit for text in chosen)
    options: dict[str, Any] = {"truncation": True, "max_length": limit} if too_long else {}
    encodings = tuple(
        dict(tokenizer(list(chosen[start : start + _TEXTS_A_BATCH]), padding=True, return_tensors="np", **options))
        for start in range(0, len(chosen), _TEXTS_A_BATCH)
    )
    longest = _LONGEST if limit is None else min(limit, _LONGEST)
    names = tuple(encodings[0])
    random = tuple(_random_batches(names, config, longest))
    return Material(chosen, encodings, random, options)


def _random_batches(names: Sequence[str], config: Mapping[str, Any], longest: int) -> Iterator[Arrays]:
    vocabulary = int(config["vocab_size"])
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
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
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


def check_variant(candidate: Side, reference: Side, material: Material, task: str, max_drop: float) -> list[Check]:
    """Compare one variant with a reference.

    An fp32 variant must give every tensor and every result of the reference. A quantized one must give numbers, and
    the reference's best label for all but `max_drop` of a hundred texts.
    """
    exact = candidate.name == FP32
    material = replace(material, options=as_pipeline_options(task, material.options))
    checks = [_tensor_check("tensors, texts", candidate, reference, material.encodings, exact)]
    if exact:
        checks.insert(0, _tensor_check("tensors, random ids", candidate, reference, material.random, exact))
    *forms, complete = RESULT_OPTIONS[compared_as(task)]
    if exact:
        few = replace(material, texts=material.texts[:_TEXTS_A_FORM])
        checks += [_result_check(options, candidate, reference, few, max_drop, exact) for options in forms]
    checks.append(_result_check(complete, candidate, reference, material, max_drop, exact))
    return checks


def _tensor_check(what: str, candidate: Side, reference: Side, batches: Sequence[Arrays], exact: bool) -> Check:
    found = compare_tensors((reference.tensors(batch), candidate.tensors(batch)) for batch in batches)
    bound = f"{ABSOLUTE:g} + {RELATIVE:g} of the reference" if exact else "finite"
    passed = found.finite and (found.close or not exact)
    return Check(what, candidate.name, reference.name, len(batches), found.largest, None, bound, passed)


def _result_check(
    options: Mapping[str, Any],
    candidate: Side,
    reference: Side,
    material: Material,
    max_drop: float,
    exact: bool,
) -> Check:
    used = {**options, **material.options}
    found = compare_results(
        material.texts, reference.results(material.texts, used), candidate.results(material.texts, used)
    )
    finite = found.largest_score is None or np.isfinite(found.largest_score)
    if exact:
        bound, passed = f"same results, scores within {ABSOLUTE:g}", found.first is None
    else:
        bound = f"label agreement of at least {100 - max_drop:g} %"
        passed = bool(finite) and (found.agreement is None or 100 * found.agreement >= 100 - max_drop)
    what = "pipeline" + "".join(f", {name}={value}" for name, value in options.items())
    return Check(
        what,
        candidate.name,
        reference.name,
        len(material.texts),
        {} if found.largest_score is None else {"score": found.largest_score},
        found.agreement,
        bound,
        passed,
        found.first if exact else None,
    )


def parity_of(checks: Sequence[Check], texts: int) -> Parity:
    """The checks of one variant as the manifest records them."""
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
        max_abs_diff=tensors,
        max_score_diff=max(scores, default=None),
        label_agreement=min(agreements, default=None),
        bound="; ".join(dict.fromkeys(check.bound for check in checks)),
        passed=all(check.passed for check in checks),
    )
