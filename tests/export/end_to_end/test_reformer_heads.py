"""Reformer through the pipelines, beside transformers, with hashes of the config's seed or of one that is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from edgepipe import pipeline
from edgepipe.errors import InputError
from edgepipe_export import export, verify
from edgepipe_export.checkpoint.patches.reformer import set_hash_seed
from tests.tiny import build
from tests.tiny.parity import compare

TEXTS = ["Hello there, my friend", "a", "What a waste of time. I want my money back, and I want it now"]


def test_a_seed_that_is_given_is_recorded_and_holds_in_pytorch_too(tmp_path: Path) -> None:
    model, tokenizer = build("reformer", gain=1.0, hash_seed=None, directory=tmp_path / "checkpoint")
    options: dict[str, Any] = {"tokenizer": tokenizer, "progress": False}
    bundle = export(model, tmp_path / "bundle", hash_seed=11, **options)
    assert model.config.hash_seed is None, "the caller's model is not changed"
    assert bundle.manifest is not None
    assert bundle.config["hash_seed"] == bundle.manifest.variants["fp32"].recipe["hash_seed"] == 11
    assert verify(bundle, model, **options).passed
    assert verify(bundle, tmp_path / "checkpoint", progress=False).passed
    assert set_hash_seed(model, 11)
    reference = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    for batch_size in (1, 3):
        found = pipeline(model=bundle)(TEXTS, batch_size=batch_size)
        for one, other in zip(found, reference(TEXTS, batch_size=batch_size), strict=True):
            assert one["label"] == other["label"]
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_other_seeds_give_other_results() -> None:
    model, _ = build("reformer", gain=1.0)
    ids = torch.arange(7, 47)[None]
    with torch.no_grad():
        first = model(ids).logits
        set_hash_seed(model, 12)
        assert not torch.equal(model(ids).logits, first)


def test_a_seed_for_a_model_that_hashes_nothing_is_refused(tmp_path: Path) -> None:
    model, tokenizer = build("bert")
    with pytest.raises(InputError, match=r"hash_seed \(--hash-seed\) is 3, and BertForSequence.* hashes no tokens"):
        export(model, tmp_path / "bundle", tokenizer=tokenizer, hash_seed=3)
    with pytest.raises(InputError, match="hash_seed must be a whole number"):
        export(model, tmp_path / "bundle", tokenizer=tokenizer, hash_seed=-1)


def test_chunks_that_are_longer_than_the_traced_text_and_see_further(tmp_path: Path) -> None:
    config = {"local_attn_chunk_length": 32, "lsh_attn_chunk_length": 16, "lsh_num_chunks_before": 2}
    model, tokenizer = build("reformer", task="fill-mask", gain=1.0, lsh_num_chunks_after=1, **config)
    bundle = export(model, tmp_path / "bundle", task="fill-mask", tokenizer=tokenizer, verify=False, progress=False)
    outcome = compare(model, tokenizer, bundle)
    assert outcome.failures == ()
    assert outcome.compared == 12
