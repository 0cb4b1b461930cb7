"""Weights that are not finite: an error that names the output and the variant, in every task, never a result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgepipe import Bundle, pipeline
from edgepipe.errors import BundleError
from edgepipe_export import export
from tests.conftest import Exported
from tests.tiny.generative import build_generative

CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text-classification": ("a b c", {}),
    "token-classification": ("a b c", {}),
    "fill-mask": ("a [MASK] c", {}),
    "question-answering": ({"question": "who?", "context": "a b c"}, {}),
    "zero-shot-classification": ("a b c", {"candidate_labels": ["a", "b"]}),
    "feature-extraction": ("a b c", {}),
}


def spoil(bundle: Bundle, folder: Path, value: float) -> Bundle:
    """A copy of a bundle whose weights all have one value."""
    copied = Bundle.load(shutil.copytree(bundle.path, folder / "bundle"))
    graph = onnx.load(copied.graph("fp32"), load_external_data=False).graph
    with (copied.path / "onnx" / "model.onnx_data").open("r+b") as data:
        for tensor in graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if where and tensor.data_type == onnx.TensorProto.FLOAT:
                data.seek(int(where["offset"]))
                data.write(np.full(int(where["length"]) // 4, value, np.float32).tobytes())
    return copied


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("task", CALLS)
def test_no_encoder_gives_a_result(
    task: str, value: float, tiny_export: Callable[..., Exported], tmp_path: Path
) -> None:
    labels = {"labels": ("entailment", "neutral", "contradiction")} if task == "zero-shot-classification" else {}
    bundle = spoil(tiny_export("bert", task=task, **labels).bundle, tmp_path, value)
    text, options = CALLS[task]
    with pytest.raises(BundleError, match=r"the output \w+ of the variant fp32 is not finite"):
        pipeline(task, bundle, verify="never")(text, **options)
    if task == "feature-extraction":
        with pytest.raises(BundleError, match="the output last_hidden_state of the variant fp32 is not finite"):
            pipeline(task, bundle, verify="never").embed(["a b c"], pooling="mean")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model, tokenizer = build_generative("gpt2")
    folder = tmp_path_factory.mktemp("decoder") / "bundle"
    return export(model, folder, task="text-generation", tokenizer=tokenizer, verify=False)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True, "seed": 0}, {"repetition_penalty": 2.0}])
def test_no_decoder_goes_on(options: dict[str, Any], decoder: Bundle, tmp_path: Path) -> None:
    bundle = spoil(decoder, tmp_path, float("nan"))
    with pytest.raises(BundleError, match="the output logits of the variant fp32 is not finite"):
        pipeline("text-generation", bundle, verify="never")("a b c", max_new_tokens=3, **options)
