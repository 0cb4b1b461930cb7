"""Whether what a model says of an input depends on the batch that it is in: the model is asked.

Dynamic 8-bit variants round activations by the largest of a whole batch, some models read padding, and nobody knows
every graph of every tool. So inputs go through the model alone, with others of their length, and with longer ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgepipe.errors import EdgepipeError
from edgepipe.generation.search.step_independence import are_same_scores, draw_ids
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.generative import GenerativeTask

Piece = Mapping[str, list[int]]
Run = Callable[[Sequence[Piece]], Any]

# How far outputs of a batch may be from those of an input alone, as a share of the largest: what adding up in another
# order does in fp32. Rounding by other scales does a thousand times as much.
_SAME = 1e-5

_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "sees", "all", "in", "town")


def find_sharing(task: Task, run: Run | None = None) -> tuple[bool, bool]:
    """Whether inputs may share a batch without a change of what they give.

    Args:
        task: The task.
        run: Gives something for each of some pieces that go through the model at once: arrays by name, or one array.
            By default what the task's results are made of.

    Returns:
        Whether inputs of one length may, and whether those of several may.
    """
    if run is None and task.keeps_padding:  # results show the batch
        return False, False
    run = run or task.run_batch
    short = [make_piece(task, 12, seed) for seed in range(3)]
    length = min(len(each["input_ids"]) for each in short)
    equal = [{name: values[:length] for name, values in each.items()} for each in short]
    if not _gives_the_same(run, equal):
        return False, False
    may_pad = task.tokenizer.pad_token_id is not None and not task.reads_padding
    return True, may_pad and _gives_the_same(run, [*short, make_piece(task, 16, 3)])


def _gives_the_same(run: Run, pieces: Sequence[Piece]) -> bool:
    try:
        together = run(pieces)
    except EdgepipeError:
        return False
    return all(_are_same(run([piece])[0], outputs) for piece, outputs in zip(pieces, together, strict=True))


def _are_same(one: Any, other: Any) -> bool:
    one, other = ({"": each} if isinstance(each, np.ndarray) else each for each in (one, other))
    for name, array in one.items():
        found = other[name]
        if array.dtype.kind != "f":
            if not np.array_equal(array, found):
                return False
            continue
        finite = np.isfinite(array)
        size = max(1.0, float(np.abs(array[finite]).max(initial=0.0)))
        if array.shape != found.shape or not np.array_equal(finite, np.isfinite(found)):
            return False
        if np.abs(array[finite] - found[finite]).max(initial=0.0) > _SAME * size:
            return False
    return True


def make_piece(task: Task, tokens: int, seed: int) -> Piece:
    """An input of so many tokens, or fewer where the model takes fewer."""
    words = np.random.default_rng(seed).choice(_WORDS, tokens)
    limits = [tokens, *(each for each in (task.model.max_length, task.tokenizer.model_max_length) if each is not None)]
    encoding = task.tokenizer([" ".join(words)], truncation=True, max_length=min(limits))
    return task.split_rows(encoding)[0]


def shares_steps(task: GenerativeTask) -> bool:
    """Whether a row's scores are the same beside others, where rows may join: tried with a few prompts."""
    decoder = task.decoder
    if not decoder.joins:
        return False
    ids = draw_ids(decoder, 3, 8)
    mask = np.ones_like(ids)
    try:
        together = decoder.begin(ids, mask, 9).step(ids)
        alone = [decoder.begin(ids[row : row + 1], mask[:1], 9).step(ids[row : row + 1])[0] for row in range(len(ids))]
    except EdgepipeError:  # said when somebody asks
        return False
    return all(map(are_same_scores, together, alone))
