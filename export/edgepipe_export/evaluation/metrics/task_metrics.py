"""How good results are beside the right answers, one figure or more a task, each from 0 to 1.

To measure another task: one entry in :data:`QUALITIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepipe_export.evaluation.metrics.accuracy import candidate_accuracy, label_accuracy
from edgepipe_export.evaluation.metrics.embedding_similarity import similarity_figures
from edgepipe_export.evaluation.metrics.entity_f1 import entity_figures
from edgepipe_export.evaluation.metrics.exact_match import answer_figures
from edgepipe_export.evaluation.task_inputs import compared_as


@dataclass(frozen=True, slots=True)
class Quality:
    """The figures of a task.

    Attributes:
        own: The one that decides.
        measure: Results and right answers -> all of them by name.
    """

    own: str
    measure: Callable[[Sequence[Any], Sequence[Any]], Mapping[str, float]]


QUALITIES: dict[str, Quality] = {
    "text-classification": Quality("accuracy", label_accuracy),
    "zero-shot-classification": Quality("accuracy", candidate_accuracy),
    "token-classification": Quality("f1", entity_figures),
    "question-answering": Quality("f1", answer_figures),
    "feature-extraction": Quality("spearman", similarity_figures),
}


def quality_of(task: str) -> Quality | None:
    """How a task's results are measured beside right answers; None where they cannot be."""
    return QUALITIES.get(compared_as(task))
