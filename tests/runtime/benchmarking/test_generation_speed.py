"""Prompts and the tokens behind them, counted apart."""

import pytest

from edgepipe.benchmarking.benchmark import TEXT
from edgepipe.benchmarking.generation_speed import NEW_TOKENS, measure_generation, request_options
from tests.golden.prove_generation import built, loaded
from tests.runtime.generation.models import model
from tests.runtime.generation.torch_decoder import TorchDecoder


def test_prompts_and_new_tokens_are_measured_apart() -> None:
    decoder = TorchDecoder(model("llama"))
    lines: list[str] = []
    found = measure_generation(decoder, [3, 4, 5], [(1, 2), (3, 7)], rounds=2, seconds=0.01, progress=lines.append)
    assert [(each.batch, each.length) for each in found] == [(1, 2), (3, 7)]
    assert lines == ["warming up", "generation, round 1 of 2", "generation, round 2 of 2"]
    for each in found:
        assert each.prompt.runs >= 2
        assert each.step.runs == each.prompt.runs * NEW_TOKENS
        assert each.prompt_tokens_per_s == pytest.approx(each.batch * each.length / (each.prompt.p50_ms / 1e3))
        assert each.new_tokens_per_s == pytest.approx(each.batch / (each.step.p50_ms / 1e3))


def test_steps_end_where_the_model_does() -> None:
    decoder = TorchDecoder(model("bart"), max_length=9)
    [found] = measure_generation(decoder, [3, 4], [(1, 5)], rounds=1, seconds=0.001, progress=lambda _: None)
    assert found.step.runs == found.prompt.runs * 8  # the decoder begins with one token


def test_a_request_always_writes_as_much() -> None:
    for task, architecture, name in (
        ("text-generation", "gpt2", "its own length"),
        ("translation", "mbart", "plain"),
        ("summarization", "t5", "plain"),
    ):
        pipe = loaded(task, *built(task, architecture, name))
        pipe(TEXT, **request_options(pipe))
        assert [call for call in pipe.decoder.calls if call[0] == "step"] == [("step", 1)] * NEW_TOKENS
