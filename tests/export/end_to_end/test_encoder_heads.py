"""Tensor parity with PyTorch of the encoders beyond the ten that have golden files.

Each is exported with one of its heads, by turns; ``pytest -m coverage`` exports every architecture with every head, as
``make coverage`` does for the documentation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from edgepipe import Model
from edgepipe.errors import ExportError
from edgepipe_export import export
from edgepipe_export.checkpoint.architectures import list_refusals
from edgepipe_export.checkpoint.resolve import Request, resolve
from tests.tiny import SIZES, TOKENIZERS, build, heads
from tests.tiny.measurement import measure
from tests.tiny.parity import compare, export_tiny, feeds_for
from tests.tiny.table import ARCHITECTURES, MORE

EVERY = [(architecture, task) for architecture in ARCHITECTURES | MORE for task in heads(architecture)]

# Those people use most, but for two that have tests of their own here; the others differ from one of them in little.
# What gives hidden states alone has golden files, and T5's encoder a test in test_sentence.py.
BY_TURNS = [
    ("deberta", "text-classification"),
    ("xlnet", "token-classification"),
    ("mpnet", "question-answering"),
    ("convbert", "fill-mask"),
    ("llama", "text-classification"),
]


def check(architecture: str, task: str, folder: Path) -> None:
    outcome = compare(*export_tiny(architecture, task, folder))
    assert outcome.failures == ()
    assert outcome.compared >= 12


@pytest.mark.parametrize(("architecture", "task"), BY_TURNS)
def test_one_head(architecture: str, task: str, tmp_path: Path) -> None:
    check(architecture, task, tmp_path)


@pytest.mark.coverage
@pytest.mark.parametrize(("architecture", "task"), [pair for pair in EVERY if pair not in BY_TURNS])
def test_every_other_head(architecture: str, task: str, tmp_path: Path) -> None:
    if (architecture, task) == ("fnet", "fill-mask"):
        pytest.xfail(
            "onnxruntime's Fourier transform rounds more than PyTorch's; docs/reference/architectures.md says so"
        )
    cell = measure(architecture, task, tmp_path)
    assert cell.failed is None
    assert cell.refused is not None or not any(cell.calls.values())


def test_every_head_is_among_those_tested() -> None:
    assert {task for _, task in BY_TURNS} == {task for _, task in EVERY} - {"feature-extraction"}
    assert len({architecture for architecture, _ in EVERY}) == len(ARCHITECTURES | MORE)


# Refused: what the tiny model of each has beside the usual sizes.
REFUSED = {
    "reformer": {"attn_layers": ["local", "lsh"], "axial_pos_embds": False},
    "mra": {},
    "yoso": {"use_expectation": False},
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 64},
    "xmod": {"languages": ["en_XX", "de_DE"]},
    "gpt2": {"pad_token_id": None},
    "llama": {"pad_token_id": None, "num_key_value_heads": 2},
}


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_cannot_be_exported_exactly_is_refused_with_the_reason(model_type: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(model_type, **SIZES | {"vocab_size": 1000} | REFUSED[model_type])
    model = AutoModelForSequenceClassification.from_config(config)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / "bert")
    with pytest.raises(ExportError, match="cannot be exported exactly") as caught:
        export(model, tmp_path / "bundle", tokenizer=tokenizer)
    assert any(reason in str(caught.value) for kind, reason in list_refusals() if kind in (model_type, None))
    assert not (tmp_path / "bundle").exists()


def test_question_answering_classes_with_other_names_are_recognized() -> None:
    for architecture in ("xlm", "xlnet", "flaubert"):
        model, tokenizer = build(architecture, task="question-answering")
        assert type(model).__name__.endswith("ForQuestionAnsweringSimple")
        assert resolve(Request(model, tokenizer=tokenizer)).task.name == "question-answering"


def test_a_class_for_generation_that_also_fills_masks_is_only_taken_when_asked_for() -> None:
    model, tokenizer = build("bart", task="fill-mask")
    assert resolve(Request(model, "fill-mask", tokenizer)).task.name == "fill-mask"
    assert resolve(Request(model, tokenizer=tokenizer)).task.generates


def test_the_exporters_own_verification_knows_heads_that_read_one_end_of_sequence(tmp_path: Path) -> None:
    model, tokenizer = build("bart", gain=1.0)
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer)
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["fp32"].parity
    assert parity is not None
    assert parity.passed


@pytest.mark.parametrize(
    ("architecture", "task"), [("longformer", "question-answering"), ("funnel", "token-classification")]
)
def test_the_exporters_own_verification_asks_what_transformers_answers(
    architecture: str, task: str, tmp_path: Path
) -> None:
    """Longformer wants three separators in each text; Funnel Transformer fails at texts of few tokens."""
    model, tokenizer = build(architecture, task=task, gain=1.0)
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer, progress=False)
    outcome = compare(model, tokenizer, bundle)
    assert outcome.failures == ()
    assert outcome.compared >= 12


def test_texts_with_different_numbers_of_ends_go_in_one_batch(tmp_path: Path) -> None:
    """PyTorch refuses such a batch, and takes each of the texts alone."""
    model, tokenizer, bundle = export_tiny("t5", "text-classification", tmp_path)
    feeds = feeds_for(model, tokenizer, 2, 11)
    feeds["input_ids"][0, [2, 5]] = model.config.eos_token_id
    got = Model(bundle)(**feeds)["logits"]
    for row in range(2):
        kept = int(feeds["attention_mask"][row].sum())
        alone = {name: torch.from_numpy(array[row : row + 1, :kept]) for name, array in feeds.items()}
        with torch.no_grad():
            np.testing.assert_allclose(got[row], model(**alone).logits[0].numpy(), atol=1e-4, rtol=1e-3)
