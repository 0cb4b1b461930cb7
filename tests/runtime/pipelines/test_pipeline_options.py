"""What transformers' pipelines take: taken where it changes nothing, else said what to do instead."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import edgepipe
from edgepipe.errors import InputError
from edgepipe.models.variants import variant_name
from edgepipe.pipelines import task_options
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.pipeline_options import PIPELINE_OPTION_NAMES, take_pipeline_options
from edgepipe.pipelines.registry import task_class
from tests.conftest import Exported
from tests.runtime.pipelines.make_signatures import FILE, parameters

# Our task, what type checkers know of its calls, and the options that stand in signatures.
TASKS: dict[str, tuple[str, Any, set[str]]] = {
    "TextClassificationPipeline": ("text-classification", task_options.CallTextClassification, {"top_k"}),
    "TokenClassificationPipeline": (
        "token-classification",
        task_options.CallTokenClassification,
        {"aggregation_strategy"},
    ),
    "FillMaskPipeline": ("fill-mask", task_options.CallFillMask, set()),
    "ZeroShotClassificationPipeline": (
        "zero-shot-classification",
        task_options.CallZeroShotClassification,
        {"candidate_labels"},
    ),
    "FeatureExtractionPipeline": ("feature-extraction", task_options.CallFeatureExtraction, {"return_tensors"}),
    "TextGenerationPipeline": (
        "text-generation",
        task_options.CallTextGeneration,
        {"return_tensors", "return_full_text"},
    ),
    "QuestionAnsweringPipeline": ("question-answering", task_options.CallQuestionAnswering, {"top_k"}),
    "Text2TextGenerationPipeline": ("text2text-generation", task_options.CallText2TextGeneration, {"return_tensors"}),
    "SummarizationPipeline": ("summarization", task_options.CallText2TextGeneration, {"return_tensors"}),
    "TranslationPipeline": ("translation", task_options.CallTranslation, {"return_tensors"}),
}
# What a call is about, which no option names.
INPUTS = {"inputs", "text_inputs", "sequences"}
POPPED = re.compile(r'(?<!\w)kwargs\.(?:pop|get)\(\s*"(\w+)"')


def of_version_4() -> dict[str, list[str]]:
    """The options that only 4.57 has, where that is the reference."""
    content: dict[str, list[str]] = json.loads(FILE.read_text())
    return content


def asked_of(name: str) -> set[str]:
    """The options of a pipeline of transformers, by its signatures."""
    if name in of_version_4():
        return set(of_version_4()[name])
    kind = getattr(transformers, name)
    common = parameters(transformers.Pipeline.__call__)
    return {*parameters(kind._sanitize_parameters), *parameters(kind.__call__), *common}


def known_to(name: str) -> set[str]:
    """The options that our pipeline takes or has advice for."""
    task, typed, beside = TASKS[name]
    kind: type[Task] = task_class(task)
    return {*typed.__optional_keys__, *typed.__required_keys__, *beside, *kind.reference_options}


@pytest.mark.parametrize("name", TASKS)
def test_every_option_of_a_task_is_known(name: str) -> None:
    missing = asked_of(name) - INPUTS - known_to(name)
    assert not missing, f"transformers' {name} takes {missing}: build them, or say in reference_options what to do"


@pytest.mark.parametrize("name", sorted(set(TASKS) - set(of_version_4())))
def test_every_pipeline_of_ours_is_one_of_transformers(name: str) -> None:
    assert hasattr(transformers, name)


def test_every_argument_of_pipeline_is_known() -> None:
    asked = {*parameters(transformers.pipeline), *of_version_4()["pipeline"], *parameters(transformers.Pipeline)}
    for function in (transformers.pipeline, transformers.Pipeline.__init__):
        asked |= set(POPPED.findall(inspect.getsource(function)))
    known = {*parameters(edgepipe.pipeline), *PIPELINE_OPTION_NAMES, *Task.reference_options}
    missing = asked - known
    assert not missing, f"transformers.pipeline takes {missing}: build them, or add them to PIPELINE_OPTIONS"


# Taken as it is, and by the reference too.


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_export: Callable[..., Exported]) -> tuple[Path, Path]:
    """A checkpoint, and the bundle that was made of it."""
    checkpoint = tmp_path_factory.mktemp("options") / "checkpoint"
    made = tiny_export("bert")
    made.model.save_pretrained(checkpoint)
    made.tokenizer.save_pretrained(checkpoint)
    return checkpoint, made.bundle.path


TAKEN: list[dict[str, Any]] = [
    {"config": None, "tokenizer": None, "processor": None, "feature_extractor": None, "image_processor": None},
    {"use_fast": False},
    {"use_fast": True, "trust_remote_code": False, "framework": "pt", "num_workers": 2},
    {"trust_remote_code": None, "pipeline_class": None, "code_revision": None, "video_processor": None},
    {"token": "a token"},
    {"token": False},
    {"device_map": "cpu"},
    {"device_map": None, "device": torch.device("cpu")},
    {"device": -1},
    {"dtype": "auto"},
    {"dtype": "float32"},
    {"dtype": torch.float32},
    {"dtype": "float"},
    {"torch_dtype": torch.float32},
    {"torch_dtype": "float32", "dtype": "auto"},
    {"dtype": torch.float32, "torch_dtype": torch.float32},
    {"model_kwargs": {}},
    {"model_kwargs": {"attn_implementation": "eager", "low_cpu_mem_usage": True}},
    {"model_kwargs": {"dtype": torch.float32}},
    {"binary_output": False},
]


@pytest.mark.parametrize("options", TAKEN, ids=str)
def test_what_changes_nothing_is_taken(options: dict[str, Any], folders: tuple[Path, Path]) -> None:
    texts = ["I love this", "What a waste of time"]
    expected = transformers.pipeline("text-classification", str(folders[0]), **options)(texts, top_k=None)
    found = edgepipe.pipeline("text-classification", folders[1], **options)(texts, top_k=None)
    for ours, theirs in zip(found, expected, strict=True):
        assert [each["label"] for each in ours] == [each["label"] for each in theirs]
        assert [each["score"] for each in ours] == pytest.approx([each["score"] for each in theirs], abs=1e-4)


def test_the_config_of_the_checkpoint_is_taken_by_name_and_as_it_is(folders: tuple[Path, Path]) -> None:
    for config in (str(folders[1]), folders[1], transformers.AutoConfig.from_pretrained(folders[0])):
        assert edgepipe.pipeline("text-classification", str(folders[1]), config=config)("I love this")
    made = edgepipe.pipeline(model=folders[1], config=json.loads((folders[1] / "config.json").read_text()))
    assert made("I love this")
    assert edgepipe.pipeline(model=folders[1], tokenizer=folders[1])("I love this") == made("I love this")


@pytest.mark.parametrize("value", [True, False, None])
def test_all_scores_are_top_k_s_as_in_version_5(value: bool | None, folders: tuple[Path, Path]) -> None:
    theirs = transformers.pipeline("text-classification", str(folders[0]))
    classify = edgepipe.pipeline("text-classification", folders[1])
    if value:
        with pytest.warns(UserWarning, match="return_all_scores=True changes nothing, as in transformers 5"):
            found = classify("I love this", return_all_scores=value)
    else:
        found = classify("I love this", return_all_scores=value)
    expected = theirs("I love this", return_all_scores=value)
    assert [each["label"] for each in found] == [each["label"] for each in expected]


def test_threads_that_read_inputs_are_none_of_ours(folders: tuple[Path, Path]) -> None:
    classify = edgepipe.pipeline("text-classification", folders[1], num_workers=3)
    assert classify(["a", "b"], num_workers=2, batch_size=2) == classify(["a", "b"], batch_size=2)
    assert "num_workers" not in repr(classify)
    with pytest.raises(InputError, match="num_workers='many' is not taken: pass a whole number"):
        classify("a", num_workers="many")
    with pytest.raises(InputError, match="num_workers=-1 is not taken"):
        edgepipe.pipeline("text-classification", folders[1], num_workers=-1)


# Not taken.


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"processor": "one"}, "processor='one' is not taken: edgepipe runs text alone"),
    ({"trust_remote_code": True}, "trust_remote_code=True is not taken: a bundle has no code; pass --trust-remote"),
    ({"framework": "tf"}, "framework='tf' is not taken: results are those of PyTorch"),
    ({"pipeline_class": dict}, "pipeline_class=.* is not taken: make a subclass"),
    ({"binary_output": True}, "binary_output=True is not taken: results are plain objects"),
    ({"tokenizer": "other"}, "tokenizer must be an edgepipe.Tokenizer, a directory .* got 'other'"),
    ({"tokenizer": 3}, "tokenizer must be .* got int"),
    ({"config": "other"}, "config='other' is not taken: a bundle has its own"),
    ({"config": {"hidden_size": 7}}, "config says hidden_size=7, the bundle's says .*: export the checkpoint with"),
    ({"config": {"problem_type": "regression"}}, "config says problem_type='regression', the bundle's says None"),
    ({"token": 3}, "token must be a text, True, False or None, got int"),
    ({"model_kwargs": 3}, "model_kwargs must be a dict, got 3"),
    ({"model_kwargs": {"cache_dir": "x"}}, "model_kwargs has 'cache_dir', which is for PyTorch"),
    ({"device_map": {"": "cpu", "head": 0}}, "device_map=.* names 2 devices, and a bundle runs on one"),
    ({"device_map": "cuda:1", "device": "cpu"}, "device is given twice, as 'cpu' and as 'cuda:1'"),
    ({"dtype": "int8", "torch_dtype": "float32"}, "dtype is given twice, as 'int8' and as 'fp32'"),
    ({"device_map": "disk"}, "device must be .* got 'disk'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_what_would_change_something_says_what_to_do(
    options: dict[str, Any], message: str, folders: tuple[Path, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        edgepipe.pipeline("text-classification", folders[1], **options)


def test_offsets_are_the_tokenizer_s() -> None:
    assert not task_class("token-classification").reference_options["offset_mapping"].changes_nothing([(0, 1)])


def test_what_is_left_is_the_task_s() -> None:
    asked = take_pipeline_options({"top_k": 3, "token": True, "device_map": "auto"}, "model", torch.float16, None)
    assert (asked.dtype, asked.device, asked.token, asked.task_options) == ("fp16", None, True, {"top_k": 3})
    assert take_pipeline_options({}, "model", None, torch.device("cuda", 1)).device == "cuda:1"


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float32, "fp32"),
        (torch.float16, "fp16"),
        ("torch.float16", "fp16"),
        ("half", "fp16"),
        ("q4", "q4"),
        ("auto", None),
        (None, None),
        (torch.bfloat16, "bf16"),
    ],
    ids=str,
)
def test_torch_s_names_of_variants(dtype: Any, name: str | None) -> None:
    assert variant_name(dtype) == name
