"""What clients may ask of a task, and what only the pipeline's own caller may."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.bundle.tasks import TASKS
from edgepipe.errors import InputError
from edgepipe.serve.call import RefusedError
from edgepipe.serve.protocols.client_options import CLIENT_OPTIONS, check_client_options
from edgepipe.serve.settings import Limits
from tests.runtime.small_bundle import write_bundle

LABELS = {"id2label": {"0": "contradiction", "1": "neutral", "2": "entailment"}}


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pipeline(model=write_bundle(tmp_path_factory.mktemp("bundle") / "small"))


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> Any:
    labels = LABELS | {"label2id": {label: int(place) for place, label in LABELS["id2label"].items()}}
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], **labels}
    folder = tmp_path_factory.mktemp("bundle") / "small"
    return pipeline(model=write_bundle(folder, task="zero-shot-classification", config=config), verify="never")


def test_each_task_says_what_clients_may_set() -> None:
    assert CLIENT_OPTIONS.keys() == TASKS.keys()


@pytest.mark.parametrize("name", ["padding", "pad_to_multiple_of", "stride", "batch_size", "return_tensors", "topk"])
def test_what_takes_memory_or_is_unknown_is_refused(classify: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"text-classification has no option '{name}'"):
        check_client_options(classify, {name: 10**9}, Limits())


def test_functions_are_nobody_s() -> None:
    for name in ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "streamer", "generation_config"):
        assert not any(name in options for options in CLIENT_OPTIONS.values())


def test_what_is_known_passes(classify: Any, zero_shot: Any) -> None:
    check_client_options(classify, {"top_k": 2, "function_to_apply": "none"}, Limits())
    options = {"candidate_labels": ["a", "b"], "hypothesis_template": "It is {}, is it?", "multi_label": True}
    check_client_options(zero_shot, options, Limits(texts=2))


@pytest.mark.parametrize("labels", [["a"] * 3, "a,b,c"], ids=["list", "text"])
def test_labels_count_as_inputs(zero_shot: Any, labels: Any) -> None:
    with pytest.raises(RefusedError, match="3 candidate_labels are more than the 2") as caught:
        check_client_options(zero_shot, {"candidate_labels": labels}, Limits(texts=2))
    assert caught.value.status == 413


@pytest.mark.parametrize("template", ["none", "{:>999999999}", "{} {}", "{0}", "{!r}", "{{}}", "{0.__class__}"])
def test_a_template_has_one_place_and_no_format(zero_shot: Any, template: str) -> None:
    with pytest.raises(InputError, match=r"must have one \{\} for the label"):
        check_client_options(zero_shot, {"hypothesis_template": template}, Limits())
