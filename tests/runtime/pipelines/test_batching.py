"""Batching: nothing lost, nothing twice, little padding, and no more read than needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepipe.errors import InputError
from edgepipe.pipelines.batching import (
    CPU_CALL,
    CPU_TOKENS,
    IGNORE_LEFT_PADDING,
    READ_PADDING,
    TOKENS_PER_ROW,
    WINDOW,
    WINDOW_TOKENS,
    batches,
    chunks,
    reads_padding,
    round_length,
)
from tests.tiny import ARCHITECTURES, build, heads
from tests.tiny.table import MORE

LENGTHS = st.lists(st.integers(min_value=1, max_value=1000), max_size=60)
SIZES = st.integers(min_value=1, max_value=20)
DEVICES = st.booleans()

Piece = dict[str, list[int]]


@dataclass(frozen=True)
class Piecewise:
    name: int
    pieces: tuple[Piece, ...]


def requests(counts: list[int], tokens: int = 1) -> list[Piecewise]:
    return [Piecewise(name, ({"input_ids": [0] * tokens},) * count) for name, count in enumerate(counts)]


@given(LENGTHS, SIZES, DEVICES)
def test_every_piece_is_in_one_batch(lengths: list[int], size: int, on_cpu: bool) -> None:
    made = list(batches(lengths, size, on_cpu=on_cpu))
    assert sorted(itertools.chain.from_iterable(made)) == list(range(len(lengths)))
    assert all(made)


@given(LENGTHS, SIZES, DEVICES)
def test_a_batch_stays_within_its_places_and_tokens(lengths: list[int], size: int, on_cpu: bool) -> None:
    for batch in batches(lengths, size, on_cpu=on_cpu):
        padded = len(batch) * max(lengths[index] for index in batch)
        assert len(batch) <= size
        assert len(batch) == 1 or padded <= (CPU_TOKENS if on_cpu else TOKENS_PER_ROW * size)


@given(LENGTHS, SIZES, DEVICES)
def test_neighbors_in_length_go_together(lengths: list[int], size: int, on_cpu: bool) -> None:
    order = [lengths[index] for batch in batches(lengths, size, on_cpu=on_cpu) for index in batch]
    assert order == sorted(lengths)


@given(st.integers(min_value=1, max_value=CPU_TOKENS // 20), st.integers(min_value=0, max_value=60), SIZES)
def test_pieces_of_one_length_fill_their_batches(length: int, count: int, size: int) -> None:
    assert len(list(batches([length] * count, size))) == -(-count // size)


@given(LENGTHS, SIZES)
def test_few_shapes_are_full_batches_of_few_lengths(lengths: list[int], size: int) -> None:
    rounded = [round_length(length) for length in lengths]
    made = list(batches(rounded, size, few_shapes=True))
    assert sorted(itertools.chain.from_iterable(made)) == list(range(len(lengths)))
    assert len(made) <= len(list(batches(rounded, size)))


def test_lengths_are_rounded_up_to_one_of_four_in_every_doubling() -> None:
    found = {length: round_length(length) for length in range(1, 2048)}
    assert all(length <= rounded < length + max(8, length / 4) for length, rounded in found.items())
    assert len({rounded for length, rounded in found.items() if length <= 512}) == 20
    assert all(round_length(rounded) == rounded for rounded in found.values())


def cost(lengths: list[int], made: list[list[int]]) -> int:
    return sum(CPU_CALL + len(batch) * max(lengths[index] for index in batch) for batch in made)


@given(st.lists(st.integers(min_value=1, max_value=100), max_size=9), st.integers(min_value=1, max_value=10))
def test_no_other_cut_costs_less(lengths: list[int], size: int) -> None:
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    best = cost(lengths, list(batches(lengths, size)))
    for number in range(len(order)):
        for cuts in itertools.combinations(range(1, len(order)), number):
            made = [order[start:end] for start, end in itertools.pairwise([0, *cuts, len(order)])]
            if all(len(batch) <= size for batch in made):
                assert best <= cost(lengths, made)


def test_a_long_piece_is_not_padded_for() -> None:
    assert list(batches([100, 10, 10, 10], 4)) == [[1, 2, 3], [0]]


@given(LENGTHS)
def test_one_place_makes_batches_of_one(lengths: list[int]) -> None:
    assert all(len(batch) == 1 for batch in batches(lengths, 1))


@given(st.lists(st.integers(min_value=0, max_value=9), max_size=200), SIZES)
def test_chunks_keep_every_request_in_order(counts: list[int], size: int) -> None:
    made = requests(counts)
    parts = list(chunks(made, size))
    assert list(itertools.chain.from_iterable(parts)) == made
    assert all(parts)
    for part in parts:
        before_the_last = sum(max(1, len(request.pieces)) for request in part[:-1])
        assert before_the_last < (size * WINDOW if size > 1 else 1)


def counted(read: list[int]) -> Iterator[Piecewise]:
    for name in itertools.count():
        read.append(name)
        yield Piecewise(name, ({"input_ids": [0]},))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_an_endless_source_is_read_one_window_at_a_time(size: int) -> None:
    read: list[int] = []
    window = size * WINDOW if size > 1 else 1
    made = chunks(counted(read), size)
    assert read == []
    for number in range(1, 4):
        next(made)
        assert len(read) == number * window


def test_long_texts_end_a_window_sooner() -> None:
    made = list(chunks(requests([1] * 100, tokens=500), 8))
    assert [len(part) for part in made] == [-(-WINDOW_TOKENS // 500)] * 3 + [1]


@given(st.integers(min_value=0, max_value=100), SIZES)
def test_what_came_before_an_error_is_given_first(good: int, size: int) -> None:
    def failing() -> Iterator[Piecewise]:
        yield from requests([1] * good)
        raise InputError("bad input")

    made = chunks(failing(), size)
    given_before: list[Piecewise] = []
    with pytest.raises(InputError, match="bad input"):
        given_before.extend(itertools.chain.from_iterable(made))
    assert given_before == requests([1] * good)


def test_an_error_of_the_caller_s_own_generator_goes_through_at_once() -> None:
    def failing() -> Iterator[Piecewise]:
        yield Piecewise(0, ({"input_ids": [0]},))
        raise KeyError("the caller's")

    with pytest.raises(KeyError, match="the caller's"):
        next(chunks(failing(), 4))


@given(st.lists(st.integers(min_value=1, max_value=9000), max_size=30), SIZES)
def test_whole_batches_are_not_cut_by_their_tokens(lengths: list[int], size: int) -> None:
    made = [Piecewise(index, ({"input_ids": [0] * length},)) for index, length in enumerate(lengths)]
    parts = list(chunks(made, size, whole_batches=True))
    assert [each for part in parts for each in part] == made
    assert all(len(part) % size == 0 for part in parts[:-1])


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE])
def test_the_models_that_read_padding_are_those_of_the_table(architecture: str) -> None:
    texts = ["I love this film", "What a waste of time, and of money, and of all that is in between!"]
    differences = [0.0]
    for task in {"feature-extraction", "text-classification"} & set(heads(architecture)):
        model, tokenizer = build(architecture, task=task)
        if model.config.is_encoder_decoder and task == "feature-extraction":
            continue  # some cannot be called with a text alone
        with torch.no_grad():
            alone = model(**tokenizer(texts[0], return_tensors="pt"))[0][0]
            padded = model(**tokenizer(texts, padding=True, return_tensors="pt"))[0][0]
        differences.append(float((alone - padded[: len(alone)]).abs().max() / alone.abs().max()))
    assert (max(differences) > 1e-4) is ((ARCHITECTURES | MORE)[architecture].model_type in READ_PADDING)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE])
def test_padding_before_a_text_is_passed_over_by_some(architecture: str) -> None:
    model_type = (ARCHITECTURES | MORE)[architecture].model_type
    if model_type not in IGNORE_LEFT_PADDING or "text-classification" not in heads(architecture):
        assert model_type not in IGNORE_LEFT_PADDING or reads_padding(model_type, "left") is False
        return
    model, tokenizer = build(architecture)
    tokenizer.padding_side = "left"
    texts = ["I love this film", "What a waste of time, and of money, and of all that is in between!"]
    with torch.no_grad():
        alone = model(**tokenizer(texts[0], return_tensors="pt"))[0][0]
        padded = model(**tokenizer(texts, padding=True, return_tensors="pt"))[0][0]
    assert float((alone - padded).abs().max() / alone.abs().max()) < 1e-4


def test_the_side_of_the_padding_counts() -> None:
    assert not reads_padding("bert", "right")
    assert reads_padding("bert", "left")
    assert not reads_padding("llama", "left")
    assert reads_padding("convbert", "right")
