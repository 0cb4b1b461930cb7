from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForPreTraining, BertModel

from edgepipe.errors import CheckpointError, InputError, TaskError
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from tests.export.checkpoint.small_checkpoint import SMALL, edit_config
from tests.tiny import build


def test_the_task_comes_from_the_architecture(checkpoint: Path) -> None:
    found = resolve(Request(checkpoint))
    assert found.task.name == "text-classification"
    assert found.name == "tiny-bert"
    assert found.revision is None


def test_a_synonym_of_the_task_fits(checkpoint: Path) -> None:
    assert resolve(Request(checkpoint, "sentiment-analysis")).task.name == "text-classification"


@pytest.mark.parametrize(("architectures", "shown"), [(["BertPooler"], "BertPooler"), (None, "none"), ([], "none")])
def test_a_task_that_cannot_be_told(own_checkpoint: Path, architectures: Any, shown: str) -> None:
    edit_config(own_checkpoint, architectures=architectures)
    with pytest.raises(TaskError, match=rf"own-checkpoint.*\({shown}\).*text-classification"):
        resolve(Request(own_checkpoint))


SUMMARIES: dict[str, Any] = {"summarization": {"num_beams": 4}}
TRANSLATIONS: dict[str, Any] = {"translation_en_to_fr": {}, "translation_en_to_de": {}}


@pytest.mark.parametrize(
    ("architecture", "params", "task"),
    [
        ("GPT2LMHeadModel", {"text-generation": {"max_length": 50}}, "text-generation"),
        ("GPT2LMHeadModel", SUMMARIES, "text-generation"),  # it could not load an encoder
        ("ReformerModelWithLMHead", None, "text-generation"),
        ("Gemma3ForConditionalGeneration", None, "text-generation"),
        ("T5ForConditionalGeneration", None, "text2text-generation"),
        ("T5ForConditionalGeneration", SUMMARIES | TRANSLATIONS, "text2text-generation"),
        ("BartForConditionalGeneration", SUMMARIES, "summarization"),
        ("BartForConditionalGeneration", {"another-task": {}} | SUMMARIES, "summarization"),
        ("T5ForConditionalGeneration", {"translation_en_to_ro": {}}, "translation_en_to_ro"),
        ("MarianMTModel", None, "text2text-generation"),
    ],
)
def test_the_task_of_what_writes_text(own_checkpoint: Path, architecture: str, params: Any, task: str) -> None:
    edit_config(own_checkpoint, architectures=[architecture], task_specific_params=params)
    assert resolve(Request(own_checkpoint)).task.name == task


@pytest.mark.parametrize("task", ["summarization", "translation", "translation_en_to_fr", "text2text-generation"])
def test_tasks_of_an_encoder_decoder(own_checkpoint: Path, task: str) -> None:
    edit_config(own_checkpoint, architectures=["BartForConditionalGeneration"])
    assert resolve(Request(own_checkpoint, task)).task.name == task
    edit_config(own_checkpoint, architectures=["LlamaForCausalLM"])
    with pytest.raises(TaskError, match=f"{task!r} needs .*LlamaForCausalLM; it is for text-generation"):
        resolve(Request(own_checkpoint, task))


def test_what_writes_text_of_speech_is_for_no_task(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, architectures=["WhisperForConditionalGeneration"])
    with pytest.raises(TaskError, match="cannot tell the task"):
        resolve(Request(own_checkpoint))


def test_an_unknown_task_is_reported_before_anything_else() -> None:
    with pytest.raises(TaskError, match="text-classification"):
        resolve(Request("no/such/place/at/all", "text-clasification"))


def test_a_task_that_does_not_fit_the_checkpoint(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, architectures=["BertForQuestionAnswering"])
    with pytest.raises(TaskError, match=r"ForSequenceClassification.*BertForQuestionAnswering"):
        resolve(Request(own_checkpoint, "text-classification"))


def test_what_was_only_pretrained_is_loaded_for_the_head_that_is_named(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, architectures=["BertForPreTraining"])
    assert resolve(Request(own_checkpoint, "fill-mask")).task.name == "fill-mask"
    model, tokenizer = build("bert")
    pretrained = BertForPreTraining(model.config)
    with pytest.raises(TaskError, match="needs a checkpoint that ends in ForMaskedLM, BertForPreTraining has"):
        resolve(Request(pretrained, "fill-mask", tokenizer))


def test_a_model_object_of_a_base_class_is_for_its_features(tmp_path: Path) -> None:
    checkpoint = resolve(Request(BertModel(BertConfig(**SMALL)), tokenizer=tmp_path))
    assert checkpoint.task.name == "feature-extraction"


def test_pickled_weights_are_refused_unless_allowed(own_checkpoint: Path) -> None:
    model, _ = build("bert")
    (own_checkpoint / "model.safetensors").unlink()
    torch.save(model.state_dict(), own_checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin.*allow_pickle"):
        resolve(Request(own_checkpoint))
    loaded = load(resolve(Request(own_checkpoint, allow_pickle=True)))
    assert torch.equal(loaded.model.classifier.weight, model.classifier.weight)


def test_no_weights_at_all(own_checkpoint: Path) -> None:
    (own_checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors"):
        resolve(Request(own_checkpoint))


def test_remote_code_is_refused_unless_trusted(own_checkpoint: Path) -> None:
    code = {"AutoConfig": "configuration.OwnConfig", "AutoModelForSequenceClassification": "modeling.OwnModel"}
    edit_config(own_checkpoint, model_type="own", auto_map=code)
    marker = own_checkpoint / "ran"
    for module in ("configuration", "modeling"):
        (own_checkpoint / f"{module}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(CheckpointError, match="trust_remote_code"):
        resolve(Request(own_checkpoint))
    assert not marker.exists()
    with pytest.raises(CheckpointError, match="cannot be loaded"):  # it is run now, and has no classes
        load(resolve(Request(own_checkpoint, trust_remote_code=True)))
    assert marker.exists()


def test_code_beside_a_known_architecture_is_not_needed(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, auto_map={"AutoModelForSequenceClassification": "modeling.OwnModel"})
    assert type(load(resolve(Request(own_checkpoint))).model).__name__ == "BertForSequenceClassification"


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        resolve(Request(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_config_that_is_no_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        resolve(Request(tmp_path))


def test_a_file_is_no_checkpoint(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file"):
        resolve(Request(checkpoint / "config.json"))


@pytest.mark.parametrize("name", ["./no/such/directory", "../b", "/no/such", "~/b", "a/b/c", "a\\b", "a/"])
def test_neither_a_path_nor_a_hub_id(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"^{re.escape(name)} does not exist"):
        resolve(Request(name))


def test_a_folder_of_the_trainer_is_told_from_its_last_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("checkpoint-90", "checkpoint-500", "checkpoint-best", "checkpoint-1000"):
        (tmp_path / name).mkdir()
        if name != "checkpoint-1000":  # one that was cut off
            (tmp_path / name / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=rf"has no config\.json.*; did you mean {tmp_path}/checkpoint-500\?$"):
        resolve(Request(tmp_path))


@pytest.mark.parametrize("model", [None, 3, b"bytes"])
def test_something_else_than_a_model(model: Any) -> None:
    with pytest.raises(InputError, match=type(model).__name__):
        resolve(Request(model))


def test_a_loaded_model_needs_a_tokenizer() -> None:
    model, _ = build("bert")
    with pytest.raises(InputError, match="tokenizer="):
        resolve(Request(model))


def free_place(checkpoint: Path, name: str) -> Path:
    """Where a file of a checkpoint would be, without that file."""
    place = checkpoint / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    return place


@pytest.mark.skipif(sys.platform == "win32", reason="links are Unix's")
@pytest.mark.parametrize("name", ["README.md", "chat_template.jinja", "model.safetensors", "2_Dense/config.json"])
def test_a_link_out_of_the_checkpoint(own_checkpoint: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of another user")
    free_place(own_checkpoint, name).symlink_to(secret)
    with pytest.raises(CheckpointError, match=f"{name} is a link to .*secret, out of .*copy"):
        resolve(Request(own_checkpoint))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are Unix's")
@pytest.mark.parametrize("name", ["README.md", "config.json", "tokenizer.json", "model.safetensors", "2_Dense/extra"])
def test_a_pipe_or_a_device_in_the_checkpoint(own_checkpoint: Path, name: str) -> None:
    entry = free_place(own_checkpoint, name)
    os.mkfifo(entry)
    with pytest.raises(CheckpointError, match=f"{name} is no regular file"):
        resolve(Request(own_checkpoint))
    entry.unlink()
    entry.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=f"{name} is a link to /dev/zero"):
        resolve(Request(own_checkpoint))


def test_a_pickle_beside_a_dummy_of_safetensors(own_checkpoint: Path) -> None:
    (own_checkpoint / "model.safetensors").rename(own_checkpoint / "dummy.safetensors")
    torch.save({}, own_checkpoint / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": {"classifier.weight": "pytorch_model.bin"}}
    (own_checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"names 'pytorch_model\.bin' as a file of weights, which is no"):
        resolve(Request(own_checkpoint))


def test_a_task_s_name_is_no_program(own_checkpoint: Path) -> None:
    name = 'translation_en");evil("_to_fr'
    edit_config(
        own_checkpoint, architectures=["BartForConditionalGeneration"], task_specific_params={name: {"prefix": ""}}
    )
    assert resolve(Request(own_checkpoint)).task.name == "text2text-generation"
    with pytest.raises(TaskError, match="unknown task"):
        resolve(Request(own_checkpoint, name))
