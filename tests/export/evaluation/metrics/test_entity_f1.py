"""F1 of entities."""

from __future__ import annotations

from edgepipe_export.calibration.dataset import Words
from edgepipe_export.evaluation.metrics.entity_f1 import entity_f1, spans


def test_f1_of_entities() -> None:
    assert spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-ORG"]) == {
        ("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5), ("ORG", 5, 6),
    }  # fmt: skip
    assert spans(["PER", "PER", "O", "LOC"]) == {("PER", 0, 2), ("LOC", 3, 4)}
    words = Words((0, 5, 9), ("B-PER", "I-PER", "O"))
    right = [{"start": 0, "entity": "B-PER"}, {"start": 3, "entity": "O"}, {"start": 5, "entity": "I-PER"}]
    assert entity_f1([right], [words]) == {"f1": 1, "precision": 1, "recall": 1}
    short = [{"start": 0, "entity": "B-PER"}, {"start": 9, "entity": "B-LOC"}]
    assert entity_f1([right, short], [words, words]) == {"f1": 0.4, "precision": 1 / 3, "recall": 0.5}
    assert entity_f1([[]], [Words((0,), ("O",))]) == {"f1": 1, "precision": 1, "recall": 1}


def test_nothing_found_of_what_is_there_and_all_of_it_invented() -> None:
    there, nothing = Words((0,), ("B-PER",)), Words((0,), ("O",))
    assert entity_f1([[]], [there]) == {"f1": 0, "precision": 0, "recall": 0}
    found = [{"start": 0, "entity": "B-PER"}]
    assert entity_f1([found], [nothing]) == {"f1": 0, "precision": 0, "recall": 0}


def test_entities_that_touch_and_one_at_the_end() -> None:
    assert spans(["B-PER", "B-PER", "I-PER"]) == {("PER", 0, 1), ("PER", 1, 3)}
    assert spans([]) == set()
