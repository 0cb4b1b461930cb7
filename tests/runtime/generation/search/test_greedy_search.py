"""Search without beams, step by step: who gets which token, and what the decoder is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.generation.search.greedy_search import greedy_search
from edgepipe.generation.stopping_criteria import StoppingCriteria
from tests.runtime.generation.models import ENDS, batch, model
from tests.runtime.generation.table_decoder import TableDecoder, draw_table, prompt_of
from tests.runtime.generation.torch_decoder import TorchDecoder

VOCABULARY = 11
NEW = 6
PROMPTS = [[1, 2], [7, 3], [5, 5]]


def search(
    decoder: TableDecoder, config: GenerationConfig, prompts: list[list[int]] = PROMPTS
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    prompt = prompt_of(prompts, len(prompts[0]) + NEW)
    return list(greedy_search(decoder, prompt, config, StoppingCriteria(config, prompt.longest, None), 0))


def sequences(steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]], rows: int) -> list[list[int]]:
    """The new tokens of each row."""
    found: list[list[int]] = [[] for _ in range(rows)]
    for places, tokens in steps:
        for place, token in zip(places.tolist(), tokens.tolist(), strict=True):
            found[place].append(token)
    return found


def likeliest(table: NDArray[np.float32], prompt: list[int], ends: tuple[int, ...] = ()) -> list[int]:
    """What follows a prompt, one token at a time."""
    ids = list(prompt)
    while len(ids) < len(prompt) + NEW and (ids == prompt or ids[-1] not in ends):
        ids.append(int(table[ids].sum(axis=0).argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("ends", [(), (4, 8, 10)], ids=str)
def test_every_row_takes_its_likeliest_token(ends: tuple[int, ...], on_device: bool) -> None:
    table = draw_table(VOCABULARY)
    decoder = TableDecoder(table, on_device=on_device)
    found = sequences(search(decoder, GenerationConfig(eos_token_id=ends)), len(PROMPTS))
    assert found == [likeliest(table, prompt, ends) for prompt in PROMPTS]
    # On a device tokens leave it, and scores do not.
    assert {name for name, _ in decoder.calls} <= {"argmax", "select"}


def test_of_equal_scores_the_first_token_is_taken() -> None:
    table = np.zeros((VOCABULARY, VOCABULARY), np.float32)
    table[:, 3:6] = 1
    assert sequences(search(TableDecoder(table), GenerationConfig(suppress_tokens=(3,))), 3) == [[4] * NEW] * 3


@pytest.mark.parametrize("on_device", [False, True])
def test_processors_see_the_row_they_change(on_device: bool) -> None:
    table = draw_table(VOCABULARY)
    decoder = TableDecoder(table, on_device=on_device)
    found = sequences(search(decoder, GenerationConfig(no_repeat_ngram_size=1)), len(PROMPTS))
    assert all(len({*prompt, *new}) == len({*prompt}) + NEW for prompt, new in zip(PROMPTS, found, strict=True))
    assert {name for name, _ in decoder.calls} == {"step"}


SAMPLE: dict[str, Any] = {"do_sample": True, "seed": 3, "num_return_sequences": 2}


def test_the_prompt_is_read_once_for_all_its_sequences() -> None:
    decoder = TableDecoder(draw_table(VOCABULARY))
    steps = search(decoder, GenerationConfig(**SAMPLE, temperature=3.0))
    assert [rows.tolist() for rows, _ in steps] == [list(range(6))] * NEW
    assert decoder.calls == [("step", 3), ("select", 6)] + [("step", 6)] * (NEW - 1)
    found = sequences(steps, 6)
    assert found[0] != found[1], "two draws for one prompt"


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6, "top_p": 0.9}, {"min_p": 0.2}], ids=str)
def test_a_device_gives_the_best_tokens_and_draws_are_the_same(options: dict[str, Any]) -> None:
    config = GenerationConfig(**SAMPLE, **options, top_k=5)
    table = draw_table(VOCABULARY)
    host, device = TableDecoder(table), TableDecoder(table, on_device=True)
    assert sequences(search(device, config), 6) == sequences(search(host, config), 6)
    assert {name for name, _ in device.calls} == {"top_k", "select"}


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_h": 0.5}, {"suppress_tokens": (1,)}], ids=str)
def test_draws_that_need_all_scores_have_them(options: dict[str, Any]) -> None:
    device = TableDecoder(draw_table(VOCABULARY), on_device=True)
    search(device, GenerationConfig(**SAMPLE, **options))
    assert {name for name, _ in device.calls} == {"step", "select"}


def test_finished_rows_leave_the_batch() -> None:
    decoder = TorchDecoder(model("gpt2"))
    config = generation_config(decoder, {}, {"max_new_tokens": 16, **ENDS})
    found = generate(decoder, *batch("gpt2", (5, 9, 2, 4, 7)), config)
    lengths = [len(row[0].token_ids) for row in found]
    assert len(set(lengths)) > 2
    steps = [rows for name, rows in decoder.calls if name == "step"]
    # A sequence of n tokens takes n steps, and then no more.
    assert steps == [sum(length > step for length in lengths) for step in range(max(lengths))]
    # Those that stay do not move, except to fill a gap.
    for rows in decoder.selections:
        assert all(row == place or row >= len(rows) for place, row in enumerate(rows))
