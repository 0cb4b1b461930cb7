"""Beam search beside a list of all sequences, and when it stops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.generation.search.beam_candidates import NEVER
from edgepipe.generation.search.beam_search import Beam, beam_search
from edgepipe.generation.stopping_criteria import StoppingCriteria
from edgepipe.numerics import log_softmax
from tests.runtime.generation.models import batch, model
from tests.runtime.generation.table_decoder import TableDecoder, draw_table, prompt_of
from tests.runtime.generation.torch_decoder import TorchDecoder


def search(decoder: TableDecoder, prompts: list[list[int]], new: int, **options: Any) -> list[list[Beam]]:
    config = GenerationConfig(**options)
    prompt = prompt_of(prompts, len(prompts[0]) + new)
    return beam_search(decoder, prompt, config, StoppingCriteria(config, prompt.longest, None), 0)


def score(table: NDArray[np.float32], prompt: list[int], tokens: tuple[int, ...], penalty: float) -> float:
    """The score of a finished beam by definition."""
    ids, total = list(prompt), 0.0
    for token in tokens:
        total += float(log_softmax(table[ids].sum(axis=0, keepdims=True))[0, token])
        ids.append(token)
    return total / len(tokens) ** penalty


def all_sequences(vocabulary: int, new: int, end: int) -> list[tuple[int, ...]]:
    """All that ends with the end token, its first, or has so many tokens."""
    return [
        tokens
        for length in range(1, new + 1)
        for tokens in product(range(vocabulary), repeat=length)
        if end not in tokens[:-1] and (tokens[-1] == end or length == new)
    ]


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.5, -0.5])
@pytest.mark.parametrize("early_stopping", [False, "never"])
def test_with_beams_for_all_sequences_it_finds_them_all(
    early_stopping: bool | str, penalty: float, on_device: bool
) -> None:
    vocabulary, new, end, prompts = 3, 3, 2, [[0, 1], [1, 1]]
    table = draw_table(vocabulary, seed=1)
    decoder = TableDecoder(table, on_device=on_device)
    found = search(
        decoder,
        prompts,
        new,
        num_beams=vocabulary**new,
        eos_token_id=(end,),
        length_penalty=penalty,
        early_stopping=early_stopping,
    )
    for prompt, beams in zip(prompts, found, strict=True):
        expected = {tokens: score(table, prompt, tokens, penalty) for tokens in all_sequences(vocabulary, new, end)}
        # Beams that never had a beginning fill up the rest, far behind.
        real = [beam for beam in beams if beam.score > NEVER / 1000]
        assert [tuple(beam.tokens) for beam in real] == sorted(expected, key=lambda tokens: -expected[tokens])
        assert [beam.score for beam in real] == pytest.approx(sorted(expected.values(), reverse=True), rel=1e-4)


def test_missing_beams_are_empty_and_worse_than_all() -> None:
    """Five beams, and four sequences to be found."""
    [beams] = search(TableDecoder(draw_table(2)), [[0]], 2, num_beams=5, length_penalty=-1.0)
    assert sorted(beam.tokens for beam in beams[:4]) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert beams[4] == Beam([], float(NEVER))
    assert beams[3].score > beams[4].score


def test_the_longer_it_looks_the_better_the_best() -> None:
    total = np.zeros(3, int)
    for seed in range(5):
        table = draw_table(9, seed)
        table[:, 4] += 1
        best, steps = [], []
        for early_stopping in (True, False, "never"):
            decoder = TableDecoder(table)
            [beams] = search(
                decoder, [[1, 2]], 14, num_beams=3, eos_token_id=(4,), early_stopping=early_stopping, length_penalty=1.5
            )
            assert [beam.score for beam in beams] == sorted((beam.score for beam in beams), reverse=True)
            best.append(beams[0].score)
            steps.append(sum(name == "step" for name, _ in decoder.calls))
        assert best == sorted(best)
        assert steps == sorted(steps)
        total += steps
    assert total[0] < total[1] < total[2]


def test_an_input_that_is_settled_leaves_the_batch() -> None:
    """After the token 5 nothing but the end is likely; nothing else makes either of them likely."""
    table = draw_table(8)
    table[:, [3, 5]] -= 20
    table[5, 3] += 90
    options: dict[str, Any] = {"num_beams": 2, "eos_token_id": (3,), "early_stopping": True}
    decoder = TableDecoder(table)
    together = search(decoder, [[1, 2], [1, 5], [2, 6]], 6, **options)
    rows = [count for name, count in decoder.calls if name == "step"]
    assert rows[0] == 3, "the prompts once each"
    assert rows[1] == 6
    assert rows[-1] == 4
    assert together[1][0].tokens == [3]
    alone = [search(TableDecoder(table), [prompt], 6, **options)[0] for prompt in ([1, 2], [1, 5], [2, 6])]
    assert together == alone


def test_beams_share_the_prompt_and_move_only_where_they_must() -> None:
    decoder = TorchDecoder(model("gpt2"))
    config = generation_config(decoder, {}, {"num_beams": 3, "max_new_tokens": 8, "eos_token_id": None})
    generate(decoder, *batch("gpt2", (6, 6)), config)
    assert decoder.calls[:3] == [("step", 2), ("select", 6), ("step", 6)]
    names = [name for name, _ in decoder.calls]
    assert names.count("step") == 8
    assert names.count("select") < 8
    for rows in decoder.selections[1:]:
        # A row that goes on at all goes on where it is.
        assert rows != list(range(6))
        assert all(rows[row] == row for row in rows)
