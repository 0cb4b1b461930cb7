"""Which decisions a variant makes otherwise than its reference: a confusion matrix, and the examples that changed.

A decision that was right and becomes wrong is a negative flip, the other way a positive one (Yan et al.,
"Positive-Congruent Training: Towards Regression-Free Model Updates", 2021).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What a result decides: for each decision (one for a text, or one for each of its tokens or masks) scores by choice.
Decisions = Mapping[Hashable, Mapping[Hashable, float]]

# How many of the examples that changed are kept.
_KEPT = 50


@dataclass(frozen=True, slots=True)
class DecisionNames:
    """What people call the decisions of a task.

    Attributes:
        choices: Reads a result: the text of each choice that is not its own name.
        places: Reads a result: the text of each decision, where an input has several.
        none: What a decision without a choice is called.
        labels: Whether choices are labels, few enough for a confusion matrix.
    """

    choices: Callable[[Any], Mapping[Hashable, str]] = lambda result: {}
    places: Callable[[Any], Mapping[Hashable, str]] = lambda result: {}
    none: str = "nothing"
    labels: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided.

    Attributes:
        label: The best choice, as people call it.
        score: Its score; None where nothing was chosen.
    """

    label: str
    score: float | None


@dataclass(frozen=True, slots=True)
class ChangedExample:
    """A decision that the variant makes otherwise.

    Attributes:
        input: The input, as JSON can hold it.
        place: Which of the input's decisions; empty where it has one.
        reference: The reference's choice.
        candidate: The variant's.
        gold: The right answer; None where it is not known.
    """

    input: Any
    place: str
    reference: Choice
    candidate: Choice
    gold: str | None = None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How the decisions of a variant stand beside its reference's.

    Attributes:
        decisions: How many were compared.
        changed: How many are others.
        counts: How often the reference's label (first) became the variant's (second); empty where choices are no
            labels.
        examples: At most 50 of those that changed, the ones that both sides were surest of first.
        negative_flips: How many were right and are wrong now; None where the right answers are not known.
        positive_flips: The other way round.
    """

    decisions: int
    changed: int
    counts: tuple[tuple[str, str, int], ...] = ()
    examples: tuple[ChangedExample, ...] = ()
    negative_flips: int | None = None
    positive_flips: int | None = None


def compare_choices(
    inputs: Sequence[Any],
    expected: Sequence[Any],
    got: Sequence[Any],
    gold: Sequence[Any] | None,
    read_decisions: Callable[[Any], Decisions],
    names: DecisionNames,
) -> Confusion | None:
    """Compare what was decided for each input.

    Args:
        inputs: The inputs, as JSON can hold them.
        expected: The reference's results.
        got: The variant's.
        gold: The right answers; None where they are not known.
        read_decisions: Reads a result.
        names: What people call its decisions.

    Returns:
        None where nothing is decided, as with vectors.
    """
    counts: Counter[tuple[str, str]] = Counter()
    changed: list[ChangedExample] = []
    for index, (item, wanted, found) in enumerate(zip(inputs, expected, got, strict=True)):
        answer = None if gold is None else _name_answer(gold[index])
        one, other = read_decisions(wanted), read_decisions(found)
        choices = {**names.choices(found), **names.choices(wanted)}
        places = {**names.places(found), **names.places(wanted)}
        for key in {**one, **other}:
            before, after = best_choice(one.get(key, {})), best_choice(other.get(key, {}))
            reference = _name_choice(before, one.get(key, {}), choices, names.none)
            candidate = _name_choice(after, other.get(key, {}), choices, names.none)
            counts[reference.label, candidate.label] += 1
            if before != after:
                changed.append(ChangedExample(item, places.get(key, ""), reference, candidate, answer))
    if not counts:
        return None
    negative = positive = None
    if names.labels and gold is not None and all(isinstance(answer, str) for answer in gold):
        negative = sum(example.reference.label == example.gold for example in changed)
        positive = sum(example.candidate.label == example.gold for example in changed)
    changed.sort(key=lambda example: -_sureness(example))
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return Confusion(
        counts.total(),
        len(changed),
        tuple((*pair, count) for pair, count in ranked) if names.labels else (),
        tuple(changed[:_KEPT]),
        negative,
        positive,
    )


def best_choice(scores: Mapping[Hashable, float]) -> Hashable:
    """The choice with the highest score, the first of equals; None where there is none."""
    return max(scores, key=scores.__getitem__, default=None)


def read_confusion(record: Mapping[str, Any]) -> Confusion:
    """A confusion from its JSON."""
    known = ("decisions", "changed", "negative_flips", "positive_flips")
    return Confusion(
        **{name: record[name] for name in known},
        counts=tuple((str(one), str(other), int(count)) for one, other, count in record["counts"]),
        examples=tuple(
            ChangedExample(
                entry["input"],
                entry["place"],
                Choice(**entry["reference"]),
                Choice(**entry["candidate"]),
                entry["gold"],
            )
            for entry in record["examples"]
        ),
    )


def _name_choice(
    choice: Hashable, scores: Mapping[Hashable, float], texts: Mapping[Hashable, str], none: str
) -> Choice:
    return Choice(none, None) if choice is None else Choice(texts.get(choice, str(choice)), float(scores[choice]))


def _name_answer(gold: Any) -> str | None:
    """A right answer in words; of several the first, as all of them are right."""
    if isinstance(gold, tuple):
        return str(gold[0]) if gold else "no answer"
    return gold if isinstance(gold, str) else None


def _sureness(example: ChangedExample) -> float:
    total = (example.reference.score or 0.0) + (example.candidate.score or 0.0)
    return total if total == total else math.inf  # what is no number comes first
