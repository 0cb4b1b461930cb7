"""Searches over a small vocabulary: what they find under a mask is what they find where brute force makes the mask.

The reference is ``prefix_allowed_tokens_fn``, with what all texts of the form say (`small_vocabularies.followers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.continuous_batching import ContinuousBatch
from edgepipe.generation.generate import generate
from edgepipe.tokenization.tokenizer import Tokenizer
from tests.runtime.generation.logits.constraints.small_vocabularies import (
    ENDS,
    FORMS,
    VOCABULARIES,
    followers,
    small_tokenizer,
)
from tests.runtime.generation.table_decoder import TableDecoder, draw_table

pytest.importorskip("llguidance")

PROMPTS = np.array([[2, 3], [4, 2], [3, 3]])
# How tokens are searched for, each way with the options of one more that bends scores.
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy with penalties": {"repetition_penalty": 1.7, "sequence_bias": [[[2], -3.0], [[3, 2], 4.0]]},
    "greedy with guidance": {"guidance_scale": 2.5},
    "greedy driven the other way": {"guidance_scale": -2.0},
    "sampling": {"do_sample": True, "seed": 4, "temperature": 1.5},
    "sampling several": {"do_sample": True, "seed": 5, "num_return_sequences": 4, "top_p": 0.9, "top_k": 0},
    "beams": {"num_beams": 2},
    "beams that are sampled": {"num_beams": 2, "do_sample": True, "seed": 6},
    "groups of beams": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.4},
}


def make_decoder(kind: str, form: str, seed: int = 0, *, joins: bool = False) -> TableDecoder:
    """A decoder that likes ends, and wrong tokens more than right ones as often as not."""
    return TableDecoder(draw_table(len(small_tokenizer(kind, form)), seed), joins=joins)


def held(kind: str, form: str, decoder: TableDecoder, **options: Any) -> GenerationConfig:
    option, _, value, _ = FORMS[form]
    base = {"max_new_tokens": 12, "eos_token_id": list(ENDS), "pad_token_id": 0}
    return generation_config(decoder, {}, base | {option: value} | options, tokenizer=small_tokenizer(kind, form))


def free(kind: str, form: str, decoder: TableDecoder, **options: Any) -> GenerationConfig:
    """The same by brute force."""
    known = followers(kind, form)

    def allowed(item: int, ids: Any) -> list[int]:
        after, is_complete = known.get(tuple(ids[PROMPTS.shape[1] :].tolist()), (frozenset(), True))
        return sorted(after) + (list(ENDS) if is_complete else [])

    base = {"max_new_tokens": 12, "eos_token_id": list(ENDS), "pad_token_id": 0, "prefix_allowed_tokens_fn": allowed}
    return generation_config(decoder, {}, base | options)


def find(decoder: TableDecoder, config: GenerationConfig) -> list[list[list[int]]]:
    found = generate(decoder, PROMPTS, np.ones_like(PROMPTS), config)
    return [[each.token_ids for each in sequences] for sequences in found]


def shown(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", VOCABULARIES)
def test_searches_find_what_they_find_by_brute_force(kind: str, form: str, search: str) -> None:
    tokenizer, texts = small_tokenizer(kind, form), FORMS[form][3]
    seen = set()
    for seed in range(3):
        decoder = make_decoder(kind, form, seed)
        config = held(kind, form, decoder, **SEARCHES[search])
        found = find(decoder, config)
        assert found == find(decoder, free(kind, form, decoder, **SEARCHES[search]))
        for ids in chain.from_iterable(found):
            assert shown(tokenizer, ids) in texts
            assert ids[-1] in ENDS
            seen.add(tuple(ids))
    assert len(seen) > 1


@pytest.mark.parametrize("form", FORMS)
def test_greedy_search_takes_the_best_of_the_tokens_that_may_follow(form: str) -> None:
    kind = "byte-level"
    decoder = make_decoder(kind, form)
    for prompt, [found] in zip(PROMPTS.tolist(), find(decoder, held(kind, form, decoder)), strict=True):
        ids: list[int] = []
        while not ids or ids[-1] not in ENDS:
            scores = decoder.table[[*prompt, *ids]].sum(axis=0)
            after, is_complete = followers(kind, form)[tuple(ids)]
            ids.append(max([*after, *(ENDS if is_complete else ())], key=lambda token: float(scores[token])))
        assert found == ids


def test_requests_that_share_steps_have_forms_of_their_own() -> None:
    kind = "sentencepiece"
    decoder = make_decoder(kind, "choices", joins=True)
    tokenizer = small_tokenizer(kind)
    made = {"max_new_tokens": 12, "eos_token_id": list(ENDS), "pad_token_id": 0}
    plain = generation_config(decoder, {}, made)
    several = {"do_sample": True, "num_return_sequences": 3, "seed": 2}
    configs = [
        held(kind, "choices", decoder),
        held(kind, "regex", decoder),
        plain,
        held(kind, "regex", decoder, **several),
    ]
    batch = ContinuousBatch(decoder, tokenizer)
    running = {batch.add([2, 3], config): config for config in configs}
    written: dict[Any, dict[int, list[int]]] = {each: {} for each in running}
    reasons = {}
    while len(batch):
        for step in batch.step():
            assert step.error is None
            assert step.token is not None
            written[step.running].setdefault(step.sequence, []).append(step.token)
            reasons[step.running, step.sequence] = step.finish_reason
    for each, config in running.items():
        alone = generate(decoder, PROMPTS[:1], np.ones_like(PROMPTS[:1]), config)[0]
        assert [ids for _, ids in sorted(written[each].items())] == [sequence.token_ids for sequence in alone]
    assert [reasons[each, 0] for each, config in running.items() if config.constraint] == ["stop"] * 3


def test_a_request_that_cannot_go_on_takes_no_other_with_it() -> None:
    kind, form = "byte-level", "choices"
    decoder = make_decoder(kind, form, joins=True)
    good = held(kind, form, decoder)
    bad = held(
        kind,
        form,
        decoder,
        logits_processor=[lambda ids, scores: np.where(np.arange(scores.shape[1]) == 8, 9.0, -9.0)[None]],
    )
    batch = ContinuousBatch(decoder, small_tokenizer(kind))
    first, second = batch.add([2, 3], good), batch.add([2, 3], bad)
    tokens, errors = [], {}
    while len(batch):
        for step in batch.step():
            if step.error is not None:
                errors[step.running] = str(step.error)
            elif step.running is first:
                tokens.append(step.token)
    assert list(errors) == [second]
    assert "another option has a token follow that choices does not allow" in errors[second]
    assert tokens == find(decoder, good)[0][0]


@pytest.mark.parametrize(
    "options",
    [{"min_new_tokens": 9}, {"prefix_allowed_tokens_fn": lambda item, ids: [8]}, {"suppress_tokens": list(range(15))}],
    ids=["no end", "another form", "no token"],
)
def test_options_that_leave_nothing_are_an_error(options: dict[str, Any]) -> None:
    decoder = make_decoder("byte-level", "choices")
    with pytest.raises(InputError, match=r"another option has a token follow that choices does not allow; leave out"):
        find(decoder, held("byte-level", "choices", decoder, **options))


def test_beams_of_which_there_are_more_than_texts() -> None:
    decoder = make_decoder("byte-level", "schema")
    tokenizer, texts = small_tokenizer("byte-level", "schema"), FORMS["schema"][3]
    found = find(decoder, held("byte-level", "schema", decoder, num_beams=6, num_return_sequences=6))
    for sequences in found:
        written = [shown(tokenizer, ids) for ids in sequences if ids]
        assert {*written} == texts & {*written} == {'{"a":1}', '{"a":"a"}'}


def test_a_form_needs_an_end_that_does_not_show() -> None:
    decoder = make_decoder("byte-level", "choices")
    for ends in (None, [5], []):
        with pytest.raises(InputError, match="choices needs a token that ends a text and does not show in it"):
            held("byte-level", "choices", decoder, eos_token_id=ends)
    for ids in find(decoder, held("byte-level", "choices", decoder, eos_token_id=[7, 1])):
        assert ids[0][-1] == 1


def test_a_form_needs_a_tokenizer() -> None:
    decoder = make_decoder("byte-level", "choices")
    with pytest.raises(InputError, match="regex needs the model's tokenizer; pass tokenizer"):
        generation_config(decoder, {}, {"regex": "a", "eos_token_id": 0})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_lookahead_changes_no_text_that_is_held_to_a_form(form: str, seed: int) -> None:
    kind = next(iter(VOCABULARIES))
    decoder = make_decoder(kind, form, seed, joins=True)
    plain, ahead = (
        held(kind, form, decoder, **options)
        for options in ({}, {"prompt_lookup_num_tokens": 4, "max_matching_ngram_size": 1})
    )
    prompt = PROMPTS[:1]
    expected = generate(decoder, prompt, np.ones_like(prompt), plain)
    assert generate(decoder, prompt, np.ones_like(prompt), ahead) == expected
    assert generate(decoder, prompt, np.ones_like(prompt), plain, assistant=decoder) == expected
