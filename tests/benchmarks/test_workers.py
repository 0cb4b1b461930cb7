"""Programs that write: they write the same, and say when the first token came."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.environments import llama_python, run
from benchmarks.generation.generation_checkpoints import write_tokenizer
from benchmarks.peers.writing.weights_read import count_checkpoint, count_gguf, count_onnx
from benchmarks.peers.writing.writer_files import WORKERS, WRITE_GGUF
from benchmarks.worker import Worker
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from edgepipe_export import export
from tests.tiny import draw_weights

PROMPT, NEW = [300, 301, 317, 305], 6
GROUPED: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def make_checkpoint(model: Any, folder: Path) -> Path:
    """A tiny checkpoint, whose texts end where they are asked to."""
    draw_weights(model, 0)
    model.generation_config.eos_token_id = None
    model.eval().save_pretrained(folder)
    write_tokenizer(folder, model.config.vocab_size, is_bart=False)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of GPT-2's kind and its bundle."""
    folder = tmp_path_factory.mktemp("writers")
    config = GPT2Config(vocab_size=400, n_positions=64, n_embd=64, n_layer=2, n_head=4)
    make_checkpoint(GPT2LMHeadModel(config), folder / "checkpoint")
    export(str(folder / "checkpoint"), folder / "bundle", verify=False)
    return folder


def ask(program: str, path: Path, option: str, python: Path | str = sys.executable, beams: int = 1) -> dict[str, Any]:
    """The answer of a worker."""
    with Worker(program, [str(python), str(WORKERS / program), str(path), "1", option]) as worker:
        return worker.request({"prompt": PROMPT, "new": NEW, "beams": beams})


def test_ours_writes_as_torch_and_a_bare_loop_do(folder: Path) -> None:
    ours = ask("generate_ours.py", folder / "bundle", "fp32")
    assert len(ours["tokens"]) == NEW
    assert 0 < ours["first_seconds"] < ours["seconds"]
    for program, path, option in (
        ("generate_torch.py", "checkpoint", "torch"),
        ("generate_bare.py", "bundle", "fp32"),
    ):
        other = ask(program, folder / path, option)
        assert other["tokens"] == ours["tokens"]
        assert 0 < other["first_seconds"] < other["seconds"]


def test_beams_have_no_first_token(folder: Path) -> None:
    answer = ask("generate_ours.py", folder / "bundle", "fp32", beams=2)
    assert len(answer["tokens"]) == NEW
    assert "first_seconds" not in answer


def test_a_table_of_rows_is_not_read(folder: Path) -> None:
    read = count_checkpoint(folder / "checkpoint")
    positions, embeddings = 64 * 64 * 4, 400 * 64 * 4
    weights = sum(each.numel() for each in GPT2LMHeadModel.from_pretrained(folder / "checkpoint").parameters())
    assert read == 4 * weights - positions
    assert read > embeddings, "the matrix is the last one, too"
    assert count_onnx(folder / "bundle" / "onnx" / "model.onnx") == pytest.approx(read, rel=0.01)


@pytest.mark.environments
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            lambda: GPT2LMHeadModel(GPT2Config(vocab_size=400, n_positions=64, n_embd=64, n_layer=2, n_head=4)),
            id="gpt2",
        ),
        pytest.param(lambda: LlamaForCausalLM(LlamaConfig(vocab_size=400, **GROUPED)), id="llama"),
        pytest.param(
            lambda: Qwen2ForCausalLM(Qwen2Config(vocab_size=400, tie_word_embeddings=True, **GROUPED)), id="qwen2"
        ),
    ],
)
def test_llama_cpp_writes_the_same(model: Any, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(model(), tmp_path / "checkpoint")
    expected = ask("generate_torch.py", checkpoint, "torch")["tokens"]
    for kind in ("f32", "q8_0"):
        file = tmp_path / f"model-{kind}.gguf"
        run([str(llama_python()), str(WRITE_GGUF), str(checkpoint), str(file), kind])
        answer = ask("generate_llama_cpp.py", file, kind, llama_python())
        assert len(answer["tokens"]) == NEW
        assert 0 < answer["first_seconds"] < answer["seconds"]
        if kind == "f32":
            assert answer["tokens"] == expected
            assert count_gguf(file) == pytest.approx(count_checkpoint(checkpoint), rel=0.001)
