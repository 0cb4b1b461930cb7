"""Stop strings against transformers' ``StopStringCriteria``, on tokenizers of every kind of decoder."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer
from transformers.generation.stopping_criteria import StopStringCriteria as ReferenceCriteria

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate, stream
from edgepipe.generation.stopping_criteria import STOPPING_CRITERIA, StoppingCriteria, StopStringCriteria
from tests.runtime.generation.models import batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder
from tests.tiny import TOKENIZERS

# Byte-level, byte fallback, Metaspace, WordPiece.
NAMES = ("gpt2", "llama", "roberta", "albert", "bert")
TEXTS = ("the cat sat on the mat", "I love this, do you?", "naïve café 你好 😀 end", "stop stopping, stopper topped")


@cache
def tokenizers(name: str) -> tuple[Any, Tokenizer]:
    return AutoTokenizer.from_pretrained(TOKENIZERS / name), Tokenizer.from_pretrained(TOKENIZERS / name)


@pytest.mark.parametrize("name", NAMES)
def test_sequences_end_where_those_of_transformers_end(name: str) -> None:
    theirs, ours = tokenizers(name)
    draw = random.Random(name)
    ends = 0
    for _ in range(12):
        # Texts cut out of what the tokens stand for, so that their borders fall within tokens.
        texts = draw.sample(TEXTS, 2)
        strings = []
        for text in texts:
            start = draw.randrange(len(text) - 2)
            strings.append(text[start : start + draw.randint(1, 6)])
        criteria = ReferenceCriteria(theirs, strings)
        stops = StopStringCriteria(strings, ours)
        pieces = [ours(draw.choice(TEXTS), add_special_tokens=False)["input_ids"] for _ in range(6)]
        for ids in pieces:
            row = [*ids, *draw.choices(range(len(ours)), k=4), *draw.choice(pieces)]
            for length in range(1, len(row) + 1):
                expected = bool(criteria(torch.tensor([row[:length]]), None)[0])
                found = bool(stops(np.array([row[: length - 1]], dtype=np.int64), np.array([row[length - 1]]))[0])
                assert found == expected, (strings, ours.convert_ids_to_tokens(row[:length]))
                ends += found
    assert ends > 20


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_ends_with_a_string(beams: int) -> None:
    theirs, ours = tokenizers("gpt2")
    decoder = TorchDecoder(model("gpt2"))
    ids, mask = batch("gpt2", (5,))
    free = generation_config(decoder, {}, {"max_new_tokens": 20, "eos_token_id": None, "num_beams": beams})
    ((whole,),) = generate(decoder, ids, mask, free)
    string = ours.decode(whole.token_ids[5:7])[:3]
    options = {"max_new_tokens": 20, "eos_token_id": None, "num_beams": beams, "stop_strings": [string, "never there"]}
    config = generation_config(decoder, {}, options)
    ((found,),) = generate(decoder, ids, mask, config, tokenizer=ours)
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    expected = model("gpt2").generate(**inputs, **options, pad_token_id=0, tokenizer=theirs)[0, 5:].tolist()
    assert found.token_ids == expected[: len(found.token_ids)]
    assert set(expected[len(found.token_ids) :]) <= {0, -1}
    assert string in ours.decode(found.token_ids)
    if beams == 1:
        assert len(found.token_ids) < 20
        assert list(stream(decoder, ids, mask, config, tokenizer=ours)) == found.token_ids


def test_strings_without_a_tokenizer_are_an_error() -> None:
    decoder = TorchDecoder(model("gpt2"))
    config = generation_config(decoder, {}, {"stop_strings": "end"})
    with pytest.raises(InputError, match=r"stop_strings=\['end'\] need the model's tokenizer"):
        generate(decoder, *batch("gpt2", (5,)), config)


def test_a_new_criterion_is_one_class_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, tokens = np.zeros((2, 3), dtype=np.int64), np.array([4, 5])
    monkeypatch.setitem(
        STOPPING_CRITERIA, "seed", lambda config, longest, tokenizer: lambda ids, tokens, _: tokens == 5
    )
    assert StoppingCriteria(GenerationConfig(), 10, None)(ids, tokens).tolist() == [False, False]
    assert StoppingCriteria(GenerationConfig(seed=1), 10, None)(ids, tokens).tolist() == [False, True]


def test_a_criterion_without_an_option_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STOPPING_CRITERIA, "dummy", lambda config, longest, tokenizer: lambda *_: None)
    with pytest.raises(
        LookupError, match=r"STOPPING_CRITERIA has 'dummy'.*add a field of that name to GenerationConfig"
    ):
        StoppingCriteria(GenerationConfig(), 10, None)


def test_an_end_is_told_from_a_limit() -> None:
    ids, tokens = np.zeros((2, 3), dtype=np.int64), np.array([4, 5])
    criteria = StoppingCriteria(GenerationConfig(eos_token_id=(5,)), 4, None)
    ended, limited = criteria.find(ids, tokens)
    assert ended.tolist() == [False, True]
    assert limited
    assert criteria(ids, tokens).tolist() == [True, True]
    assert not criteria.find(ids[:, :2], tokens)[1]
    late = StoppingCriteria(GenerationConfig(max_time=1e-9), 10, None)
    assert late.find(ids, tokens)[1], "the time is over"
