"""Bundles for GPUs: every node of a decoder has a CUDA kernel in fp32 too, and results are what they are elsewhere."""

from __future__ import annotations

from pathlib import Path

import onnx_ir
import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import GRAPH_NAMES
from edgepipe.errors import InputError
from edgepipe_export import export
from tests.tiny.generative import build_generative

FAMILIES = ("gemma2", "t5")  # groups of heads, a softcap and windows; an encoder-decoder


@pytest.fixture(scope="module", params=FAMILIES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its export is verified: every step's scores against PyTorch's, and greedy search token for token."""
    model, tokenizer = build_generative(request.param)
    return export(
        model,
        tmp_path_factory.mktemp("cuda") / request.param,
        tokenizer=tokenizer,
        target="cuda",
    )


def test_the_graphs_have_standard_operators_alone(bundle: Bundle) -> None:
    for dtype in bundle.dtypes:
        for name in GRAPH_NAMES:
            if bundle.has_graph(dtype, name):
                graph = onnx_ir.load(bundle.graph(dtype, name)).graph
                assert {node.domain for node in graph} <= {"", "ai.onnx"}
                read = {value for node in graph for value in node.inputs} | set(graph.outputs)
                assert all(read & set(node.outputs) for node in graph), "no node is left that nothing reads"


def test_the_manifest_says_so_and_that_fp32_is_exact(bundle: Bundle) -> None:
    assert bundle.manifest is not None
    assert not any(bundle.shares_cache(dtype) for dtype in bundle.dtypes)
    parity = bundle.manifest.variants["fp32"].parity
    assert parity is not None
    assert parity.passed
    assert parity.reference == "pytorch-fp32"


@pytest.mark.parametrize("dtype", ["int8", "int8-static"])
def test_what_a_gpu_cannot_run_is_not_exported_for_it(dtype: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{dtype} is not for the target cuda, which runs fp32, w8, q4, q4f16, fp16$"):
        export("nothing is loaded before", tmp_path / "out", dtypes=("fp32", dtype), target="cuda")


def test_nothing_is_chosen_for_a_gpu_on_a_processor(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="measures on this processor"):
        export("nothing is loaded before", tmp_path / "out", dtypes="auto", target="cuda")
