"""Which label each logit stands for."""

from __future__ import annotations

import pytest

from edgepipe.bundle.labels import check_labels, name_labels, read_label_ids, read_labels
from edgepipe.errors import BundleError


def test_labels_are_read_by_id() -> None:
    assert read_labels({"id2label": {"2": "c", "0": "a", "5": "f"}}) == {0: "a", 2: "c", 5: "f"}


def test_labels_stay_what_they_are() -> None:
    assert read_labels({"id2label": {"0": 7, "1": None}}) == {0: 7, 1: None}


@pytest.mark.parametrize(("config", "count"), [({}, 2), ({"num_labels": 3}, 3), ({"id2label": {}}, 2)])
def test_without_names_labels_have_numbers(config: dict[str, object], count: int) -> None:
    assert read_labels(config) == {place: f"LABEL_{place}" for place in range(count)}


def test_ids_are_numbers() -> None:
    with pytest.raises(BundleError, match=r"id2label of config.json has 'first' where a whole number is expected"):
        read_labels({"id2label": {"first": "a"}})


def test_label2id_is_read_before_id2label() -> None:
    config = {"id2label": {"0": "a", "1": "b"}, "label2id": {"b": 0, "a": 1}}
    assert read_label_ids(config) == {"b": 0, "a": 1}
    assert read_label_ids({"id2label": {"1": "b"}}) == {"b": 1}


def test_every_logit_needs_a_label() -> None:
    check_labels({0: "a", 1: "b"}, 2)
    check_labels({0: "a", 1: "b", 7: "c"}, 2)
    with pytest.raises(BundleError, match=r"gives 3 logits.*names 3 labels, with the ids 1, 2, 3.*no label for 0"):
        check_labels({1: "a", 2: "b", 3: "c"}, 3)
    with pytest.raises(BundleError, match=r"gives 3 logits.*names 2 labels.*no label for 2"):
        check_labels({0: "a", 1: "b"}, 3)


def test_names_end_before_a_gap() -> None:
    assert name_labels({0: "a", 1: 5, 3: "d"}) == ("a", "5")
    assert name_labels({1: "a"}) == ()


@pytest.mark.parametrize("label", [["a"], {"a": 1}])
def test_a_label_that_is_none(label: object) -> None:
    with pytest.raises(BundleError, match="where a label is expected"):
        read_labels({"id2label": {"0": label}})


@pytest.mark.parametrize("count", [10**9, 10**30, 10**400, 1e300])
def test_labels_that_fill_the_memory(count: float) -> None:
    with pytest.raises(BundleError, match="no model has more than 1,000,000"):
        read_labels({"num_labels": count})


def test_a_count_that_is_no_number() -> None:
    with pytest.raises(BundleError, match="where a whole number is expected"):
        read_labels({"num_labels": float("inf")})
