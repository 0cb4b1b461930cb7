"""Exported models that write, through the pipeline: text, layouts of other tools, limits, and memory."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir
import pytest
import transformers

from edgepipe import Bundle, pipeline
from edgepipe.benchmarking.benchmark import bench
from edgepipe.benchmarking.memory import read_memory
from edgepipe.bundle.layout import DECODER, ENCODER, MANIFEST_NAME
from edgepipe.errors import InputError
from edgepipe_export.output.workspace import Workspace
from edgepipe_export.quantization.target import find_target
from tests.tiny import LIMIT

PROMPTS = ("Hello there, my friend", "The 2nd of May", "a")
GREEDY = {"max_new_tokens": 12, "do_sample": False}


@pytest.fixture(scope="module")
def decoder(writer: Callable[[str], tuple[Any, Any, Bundle]]) -> tuple[Any, Any, Bundle]:
    return writer("gpt2")


@pytest.fixture(scope="module")
def encoder_decoder(writer: Callable[[str], tuple[Any, Any, Bundle]]) -> tuple[Any, Any, Bundle]:
    return writer("bart")


def flat(bundle: Bundle, folder: Path) -> Path:
    """The bundle as optimum lays it out: no manifest, all files in one directory."""
    shutil.copytree(bundle.path, folder)
    (folder / MANIFEST_NAME).unlink()
    for file in (folder / "onnx").iterdir():
        file.rename(folder / file.name)
    return folder


def test_the_pipeline_writes_what_transformers_writes(decoder: tuple[Any, Any, Bundle]) -> None:
    model, tokenizer, bundle = decoder
    reference = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
    write = pipeline(model=bundle)
    assert write.name == "text-generation"
    expected = [reference(prompt, **GREEDY) for prompt in PROMPTS]
    assert write(list(PROMPTS), batch_size=3, **GREEDY) == expected
    assert "".join(write.stream(PROMPTS[0], **GREEDY)) == expected[0][0]["generated_text"].removeprefix(PROMPTS[0])  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_transformers_js_is_told_of_every_file_of_weights(kind: str, request: pytest.FixtureRequest) -> None:
    _, _, bundle = request.getfixturevalue(kind)
    told = bundle.config["transformers.js_config"]["use_external_data_format"]
    assert {f"{graph}_data" for graph in told} == {path.name for path in (bundle.path / "onnx").glob("*_data")}
    assert all(files == 1 for files in told.values())


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_a_layout_of_other_tools(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    _, _, bundle = request.getfixturevalue(kind)
    foreign = pipeline(model=flat(bundle, tmp_path / "flat"))
    own = pipeline(model=bundle)
    assert foreign.name == own.name
    for options in (GREEDY, GREEDY | {"num_beams": 3}):
        assert foreign(list(PROMPTS), batch_size=2, **options) == own(list(PROMPTS), batch_size=2, **options)


@pytest.mark.parametrize("dtype", ["w8", "fp16"])
def test_a_variant_says_what_cache_its_decoder_has(
    encoder_decoder: tuple[Any, Any, Bundle], dtype: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(encoder_decoder[2].path, tmp_path / "copy"))
    manifest = encoder_decoder[2].manifest
    assert manifest is not None
    workspace = Workspace(folder, manifest, (ENCODER, DECODER), find_target())
    workspace.make(dtype)
    assert workspace.bundle.shares_cache("fp32")
    operators = {node.op_type for node in onnx_ir.load(workspace.bundle.graph(dtype, DECODER)).graph.all_nodes()}
    assert workspace.bundle.shares_cache(dtype) == ("GroupQueryAttention" in operators)
    foreign = pipeline(model=flat(workspace.bundle, tmp_path / "flat"), dtype=dtype)  # past and present are apart
    own = pipeline(model=workspace.bundle, dtype=dtype)
    assert own(list(PROMPTS), batch_size=2, **GREEDY) == foreign(list(PROMPTS), batch_size=2, **GREEDY)


def test_what_is_past_the_limit(decoder: tuple[Any, Any, Bundle], encoder_decoder: tuple[Any, Any, Bundle]) -> None:
    with pytest.raises(InputError, match=rf"more than the {LIMIT} that the model takes"):
        pipeline(model=decoder[2])("a" * 3 * LIMIT, **GREEDY)
    with pytest.raises(InputError, match=f"the model takes at most {LIMIT - 1}"):  # a prompt, and one token after it
        bench(decoder[2].path, lengths=(LIMIT,))
    write = pipeline(model=encoder_decoder[2])  # where transformers fails, the source is cut
    assert write("a " * 3 * LIMIT, **GREEDY) == write("a " * 3 * LIMIT, truncation=True, **GREEDY)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_over_many_texts_of_all_lengths(decoder: tuple[Any, Any, Bundle]) -> None:
    write = pipeline(model=decoder[2])
    sizes: list[int | None] = []
    for number in range(600):
        write("a" * (1 + 7 * number % 30), max_new_tokens=1 + 5 * number % 11, do_sample=False)
        if number in (100, 599):
            gc.collect()
            sizes.append(read_memory()["resident_bytes"])
    before, after = sizes
    assert before is not None
    assert after is not None
    assert after - before < 2**20
