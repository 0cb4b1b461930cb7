"""Layers that see a window forget what is before it, and the tokens are those of transformers far beyond the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle, Tokenizer, pipeline
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.continuous_batching import ContinuousBatch
from edgepipe.generation.generate import generate
from edgepipe.models import windowed_cache
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.windowed_cache import SPARE, WindowedCache, count_room
from edgepipe_export import export
from tests.tiny.generation import compare_tokens
from tests.tiny.generative import WINDOW, build_generative

# Layers of both kinds, and none that sees all.
FAMILIES = {"gemma2": 1, "mistral": 2}
# More than the spare tokens of a window, twice.
LONG = 700
SEARCHES = {
    "greedy": {"max_new_tokens": 60},
    "beam search": {"max_new_tokens": 40, "num_beams": 3},
}


@dataclass(frozen=True)
class Exported:
    """A tiny model, its tokenizer and its bundle."""

    model: Any
    tokenizer: Any
    bundle: Bundle


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    made: dict[str, Exported] = {}

    def load(family: str) -> Exported:
        if family not in made:
            model, tokenizer = build_generative(family, max_position_embeddings=LONG)
            folder = tmp_path_factory.mktemp(family) / "bundle"
            bundle = export(model, folder, tokenizer=tokenizer, verify=False, progress=False)
            made[family] = Exported(model, tokenizer, bundle)
        return made[family]

    return load


def ids_of(tokenizer: Any, text: str) -> Any:
    return np.array([tokenizer(text)["input_ids"]], np.int64)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_transformers(family: str, exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed_cache, "SPARE", 0)  # not a token more than the window
    made = exported(family)
    found = compare_tokens(made.model, made.tokenizer, made.bundle, SessionConfig(num_threads=1), SEARCHES)
    assert not found.failures
    assert found.compared == 2 * 8


@pytest.mark.parametrize(("family", "windowed"), FAMILIES.items(), ids=FAMILIES)
def test_only_the_window_is_kept(family: str, windowed: int, exported: Any) -> None:
    made = exported(family)
    decoder: Any = load_decoder(made.bundle, session=SessionConfig(num_threads=1))
    assert decoder.window == WINDOW
    assert len(decoder._windowed) == 2 * windowed
    ids = ids_of(made.tokenizer, "Hello there, my friend")
    prompt, new = ids.shape[1], LONG - 40
    reference = made.model.generate(
        input_ids=made.model.dummy_inputs["input_ids"].new_tensor(ids), max_new_tokens=new, eos_token_id=None
    )[0, prompt:].tolist()
    decoding = decoder.begin(ids, np.ones_like(ids), prompt + new)
    tokens = [int(decoding.argmax(ids)[0])]
    while len(tokens) < new:
        tokens.append(int(decoding.argmax(np.array([tokens[-1:]]))[0]))
    assert tokens == reference
    cache = decoding._cache
    assert isinstance(cache, WindowedCache)
    assert not cache.is_whole
    last: Any = cache._windowed
    assert last._buffer.tokens == count_room(WINDOW, prompt) == WINDOW + 2 * SPARE
    assert last._length < WINDOW + 2 * SPARE < prompt + new - 1
    held = [memory for each in (cache._whole, last) if each is not None for memory in each._buffer._memories]
    assert sum(memory.nbytes for memory in held) == decoder.count_cache_bytes(1, 1, prompt, prompt + new)


def test_a_long_prompt_gives_its_memory_back(exported: Any) -> None:
    made = exported("gemma2")
    decoder: Any = load_decoder(made.bundle, session=SessionConfig(num_threads=1))
    ids = np.random.default_rng(0).integers(5, 200, (2, LONG - 50))
    decoding = decoder.begin(ids, np.ones_like(ids), LONG)
    decoding.step(ids)
    last = decoding._cache._windowed
    assert (last._length, last._buffer.tokens) == (LONG - 50, LONG - 50)
    decoding.step(ids[:, :1])
    assert (last._length, last._buffer.tokens) == (WINDOW + SPARE, WINDOW + 2 * SPARE)


@pytest.mark.parametrize("family", FAMILIES)
def test_lookahead_takes_tokens_back(family: str, exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed_cache, "SPARE", 12)
    made = exported(family)
    call = {"do_sample": False, "max_new_tokens": 120, "eos_token_id": None, "return_tensors": True}
    prompts = ["the sun sees the sun sees the", "a man, a man, a man", "12"]
    with pipeline(model=made.bundle.path, num_threads=1, verify="never") as write:
        expected = write(prompts, **call)
        assert write(prompts, **call, prompt_lookup_num_tokens=8) == expected
        assert write(prompts, **call, assistant_model=write, num_assistant_tokens=9) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_side_by_side_get_what_each_gets_alone(
    family: str, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windowed_cache, "SPARE", 4)
    made = exported(family)
    decoder = load_decoder(made.bundle, session=SessionConfig(num_threads=1))
    tokenizer = Tokenizer.from_pretrained(made.bundle.path)
    generator = np.random.default_rng(0)
    head = generator.integers(5, 200, 30).tolist()
    config = GenerationConfig(max_new_tokens=40)
    prompts = [generator.integers(5, 200, int(length)).tolist() for length in (3, 40, 9, 90)] + [
        head + generator.integers(5, 200, 3).tolist() for _ in range(4)
    ]
    batch = ContinuousBatch(decoder, tokenizer, prompt_chunk=8, prefix_bytes=1 << 24)
    written: dict[Any, list[int]] = {}
    waiting = list(prompts)
    while waiting or len(batch):
        if waiting and generator.random() < 0.4:
            written[batch.add(waiting.pop(0), config)] = []
        for step in batch.step():
            assert step.token is not None
            written[step.running].append(step.token)
    assert any(running.cached_tokens for running in written)
    for prompt, tokens in zip(prompts, written.values(), strict=True):
        ids = np.array([prompt])
        assert tokens == generate(decoder, ids, np.ones_like(ids), config)[0][0].token_ids


def test_attention_in_standard_operators_keeps_the_window_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed_cache, "SPARE", 3)
    model, tokenizer = build_generative("gemma2")
    bundle = export(
        model, tmp_path / "bundle", tokenizer=tokenizer, verify=False, progress=False, target="cuda", dtypes=("fp32",)
    )
    decoder: Any = load_decoder(bundle, session=SessionConfig(num_threads=1))
    assert not decoder.shares
    assert decoder.window == WINDOW
    greedy = {"greedy": {"max_new_tokens": 25}}
    assert not compare_tokens(model, tokenizer, bundle, SessionConfig(num_threads=1), greedy).failures
