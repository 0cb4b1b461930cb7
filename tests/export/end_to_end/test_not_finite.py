"""Weights that are not finite: an error that names the output and the variant, in every task, never a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgepipe import pipeline
from edgepipe.errors import BundleError
from edgepipe_export import export
from tests.tiny import build
from tests.tiny.generative import build_generative

CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text-classification": ("a b c", {}),
    "token-classification": ("a b c", {}),
    "fill-mask": ("a [MASK] c", {}),
    "question-answering": ({"question": "who?", "context": "a b c"}, {}),
    "zero-shot-classification": ("a b c", {"candidate_labels": ["a", "b"]}),
    "feature-extraction": ("a b c", {}),
}


def spoil(model: Any, value: float) -> None:
    with torch.no_grad():
        list(model.parameters())[-1].fill_(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("task", CALLS)
def test_no_encoder_gives_a_result(task: str, value: float, tmp_path: Path) -> None:
    labels = ("entailment", "neutral", "contradiction") if task == "zero-shot-classification" else ()
    model, tokenizer = build("bert", task=task, labels=labels)
    spoil(model.bert.embeddings if task != "feature-extraction" else model.embeddings, value)
    bundle = export(model, tmp_path / "bundle", task=task, tokenizer=tokenizer, verify=False)
    text, options = CALLS[task]
    with pytest.raises(BundleError, match=r"the output \w+ of the variant fp32 is not finite"):
        pipeline(task, bundle)(text, **options)
    if task == "feature-extraction":
        with pytest.raises(BundleError, match="the output last_hidden_state of the variant fp32 is not finite"):
            pipeline(task, bundle).embed(["a b c"], pooling="mean")


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True, "seed": 0}, {"repetition_penalty": 2.0}])
def test_no_decoder_goes_on(options: dict[str, Any], tmp_path: Path) -> None:
    model, tokenizer = build_generative("gpt2")
    spoil(model, float("nan"))
    bundle = export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, verify=False)
    with pytest.raises(BundleError, match="the output logits of the variant fp32 is not finite"):
        pipeline("text-generation", bundle)("a b c", max_new_tokens=3, **options)
