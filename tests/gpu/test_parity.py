"""On a GPU as in PyTorch: fp32 with TF32 off, fp16 in its decisions, and tokens one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepipe import Model, pipeline
from edgepipe.backend.session import SessionConfig
from edgepipe_export import export, verify
from tests.conftest import Exported, shared
from tests.tiny.generation import compare_tokens
from tests.tiny.parity import feeds_for

pytestmark = pytest.mark.gpu

ABSOLUTE = 1e-3
AGREEMENT = 0.995
SHAPES = ((1, 1), (1, 31), (3, 17), (8, 48))


def in_pytorch(model: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    """The model's outputs, computed on the same GPU where torch has one, without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    where = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad():
        result = model.to(where)(**{name: torch.from_numpy(array).to(where) for name, array in feeds.items()})
    model.to("cpu")
    return {name: tensor.cpu().numpy() for name, tensor in result.items() if isinstance(tensor, torch.Tensor)}


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "roberta", "albert", "deberta-v2", "electra"])
def test_fp32_gives_the_tensors_of_pytorch(
    architecture: str, tiny_export: Callable[..., Exported], device: str
) -> None:
    made = tiny_export(architecture)
    graph = Model(made.bundle, "fp32", SessionConfig(device=device))
    for batch, length in SHAPES:
        feeds = feeds_for(made.model, made.tokenizer, batch, length)
        expected = in_pytorch(made.model, feeds)
        for name, found in graph(**feeds).items():
            np.testing.assert_allclose(
                found, expected[name], atol=ABSOLUTE, rtol=0, err_msg=f"{name}, {batch}x{length}"
            )


@pytest.mark.parametrize("target", ["this", "cuda"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "t5", "bart"])
def test_fp32_writes_token_for_token_what_transformers_writes(
    family: str, target: str, written: Callable[..., Exported], device: str
) -> None:
    made = written(family, target)
    outcome = compare_tokens(made.model, made.tokenizer, made.bundle, SessionConfig(device=device))
    assert outcome.compared
    assert not outcome.failures, "\n".join(outcome.failures)


def test_verify_passes_on_the_device(minilm_sst2: Path, tmp_path: Path, device: str) -> None:
    bundle = export(minilm_sst2, tmp_path / "bundle", dtypes=("fp32", "fp16"), target="cuda", progress=False)
    verification = verify(bundle, minilm_sst2, device=device, progress=False)
    assert {row.dtype for row in verification.rows} >= {"fp32", "fp16"}
    assert verification.passed, verification.table()


def test_fp16_decides_as_fp32_does(minilm_sst2: Path, tmp_path: Path, device: str) -> None:
    bundle = export(minilm_sst2, tmp_path / "bundle", dtypes=("fp32", "fp16"), verify=False, progress=False)
    lines = shared("data", "sst2", "dev.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines]
    half = pipeline(model=bundle, device=device, dtype="fp16", batch_size=32)(texts)
    whole = pipeline(model=bundle, batch_size=32, dtype="fp32")(texts)
    same = [one["label"] == other["label"] for one, other in zip(half, whole, strict=True)]
    assert len(same) > 500
    assert np.mean(same) >= AGREEMENT


def test_fp16_is_what_a_gpu_loads_by_itself(minilm_sst2: Path, tmp_path: Path, cuda: str) -> None:
    bundle = export(minilm_sst2, tmp_path / "bundle", dtypes=("fp32", "fp16"), verify=False, progress=False)
    assert pipeline(model=bundle, device=cuda).model.dtype == "fp16"
