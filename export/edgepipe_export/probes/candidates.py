"""Inputs that may become probes: plain texts, other scripts, a long one, several at once; and prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.checking.probe_runs import encode_inputs
from edgepipe.checking.probes import Probe
from edgepipe.errors import EdgepipeError, InputError
from edgepipe.generation.search.teacher_forcing import write_likeliest
from edgepipe_export.calibration.texts import sentences, truncate_text
from edgepipe_export.evaluation.tasks import inputs_of, make_inputs, select_texts

if TYPE_CHECKING:
    from edgepipe.pipelines.base import Task
    from edgepipe_export.calibration.dataset import Dataset

# What a probe is chosen for, where that is known before it was run.
PLAIN, SCRIPT, BATCH, LONG = "plain", "script", "batch", "long"

# Texts in other scripts, with marks, symbols and characters of several code points.
_SCRIPTS = (
    "Zażółć gęślą jaźń: 42 €, ½ ☕ 😀",
    "Сегодня хорошая погода.",
    "今天天气很好。",
    "صباح الخير يا عالم",
    "नमस्ते दुनिया",
    "Καλημέρα, κόσμε!",
)

# How many inputs are tried, and how many tokens the longest has.
_TRIED, _LONGEST = 40, 512
# How many prompts are tried, how many tokens a prompt has, and how many are written.
_PROMPTS, _PROMPT, _STEPS = 12, 8, 8

# How many inputs go through the model together in the probe for that.
_BATCH = 3


def list_candidates(task: Task, options: Mapping[str, Any], data: Dataset | None) -> Iterator[Probe]:
    """Probes to choose from, of kinds that are known before they are run.

    Args:
        task: The task with fp32.
        options: Its options.
        data: Inputs in place of the built-in ones.
    """
    if task.generates:
        yield from _list_prompts(task, data)
        return
    tokenizer, limit = task.tokenizer, task.model.max_length
    longest = _LONGEST if limit is None else min(limit, _LONGEST)
    chosen = _spread(make_inputs(task.name, tokenizer, longest) if data is None else data.inputs, _TRIED)
    yield from _encode(task, PLAIN, [[item] for item in chosen], options)
    if data is None:
        yield from _encode(task, SCRIPT, [[item] for item in _make(task, _SCRIPTS, longest)], options)
        yield from _encode(task, LONG, [[item] for item in _make(task, [" ".join(sentences())], longest)], options)
    # The shortest: this one is among those that a variant is loaded with.
    yield from _encode(task, BATCH, [sorted(chosen, key=lambda item: len(str(item)))[:_BATCH]], options)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most so many, from the first to the last."""
    return [items[place] for place in np.unique(np.linspace(0, len(items) - 1, count).astype(int))]


def _make(task: Task, texts: Sequence[str], longest: int) -> tuple[Any, ...]:
    try:
        return inputs_of(task.name, select_texts(task.name, task.tokenizer, longest, texts), task.tokenizer)
    except InputError:  # they become no tokens of this tokenizer
        return ()


def _encode(task: Task, kind: str, groups: Sequence[Sequence[Any]], options: Mapping[str, Any]) -> Iterator[Probe]:
    for inputs in groups:
        try:
            pieces = encode_inputs(task, inputs, options)
        except InputError:
            continue
        if pieces and all(piece["input_ids"] for piece in pieces):
            yield Probe(kind, tuple(inputs), pieces)


def _list_prompts(task: Task, data: Dataset | None) -> Iterator[Probe]:
    texts = _spread(sentences() if data is None else data.inputs, _PROMPTS)
    for kind, group in ((PLAIN, texts), (SCRIPT, _SCRIPTS if data is None else ())):
        prompts = [[truncate_text(str(text), task.tokenizer, _PROMPT)] for text in group]
        for probe in _encode(task, kind, prompts, {}):
            following = _write_on(task, probe)
            if following:
                yield replace(probe, following=following)


def _write_on(task: Any, probe: Probe) -> tuple[int, ...]:
    """The likeliest tokens behind a prompt, an encoder-decoder's first one included; none where there is no room."""
    decoder = task.decoder
    ids = np.array(probe.pieces[0]["input_ids"], np.int64)
    start = _decoder_start(task) if decoder.is_encoder_decoder else None
    first = () if start is None else (start,)
    room = _STEPS if decoder.max_length is None else decoder.max_length - (len(first) or len(ids))
    try:
        tokens, _ = write_likeliest(decoder, ids, min(_STEPS, room), start)
    except EdgepipeError:  # a token without embedding, a source that is too long
        return ()
    return (*first, *tokens)


def _decoder_start(task: Any) -> int:
    for name in ("decoder_start_token_id", "bos_token_id"):
        for options in (task.decoder.generation_config, task.model.config):
            if isinstance(options.get(name), int):
                return int(options[name])
    return 0
