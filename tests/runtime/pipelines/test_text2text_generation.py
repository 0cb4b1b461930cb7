"""Text-to-text generation: what the checkpoint says for the task, what a text becomes, and how results are wrapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe.pipelines.text2text_generation import Text2TextGeneration
from tests.golden.prove_generation import built, loaded
from tests.golden.suites.text2text_generation import MIXED, PLAIN
from tests.runtime.generation.option_decoder import decoder
from tests.runtime.small_bundle import write_foreign
from tests.tiny import TOKENIZERS

LIMIT = 12


def task(
    config: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    limit: int | None = LIMIT,
    tokenizer: str | Path = "t5",
    **options: Any,
) -> Text2TextGeneration:
    """The task over a decoder that only has options."""
    model = decoder({"decoder_start_token_id": 0, **(generation or {})}, config, is_encoder_decoder=True)
    model.max_source_length = limit
    return Text2TextGeneration(Tokenizer.from_pretrained(TOKENIZERS / tokenizer), model, **options)


@pytest.fixture(scope="module")
def writer() -> Any:
    return loaded("text2text-generation", *built("text2text-generation", "t5", "plain"))


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ({}, (256, 4)),
        ({"max_length": 20}, (256, 4)),  # the default of all says nothing
        ({"max_length": 30}, (None, 4)),
        ({"max_new_tokens": 7}, (256, 4)),
        ({"num_beams": 2}, (256, 4)),
    ],
    ids=str,
)
def test_the_defaults_go_before_the_checkpoint_except_for_its_length(
    generation: dict[str, Any], expected: tuple[int | None, int]
) -> None:
    config = task(generation=generation).settings({}).generation
    assert (config.max_new_tokens, config.num_beams) == expected


def test_the_task_s_params_go_before_the_defaults_and_the_caller_before_all() -> None:
    params = {"text2text-generation": {"num_beams": 2, "max_length": 9, "prefix": "say: "}, "summarization": {"x": 1}}
    made = task({"task_specific_params": params})
    assert made.settings({}).generation.num_beams == 2
    assert made.settings({"num_beams": 3}).generation.num_beams == 3
    assert task({"task_specific_params": params}, num_beams=5).settings({"num_beams": 1}).generation.num_beams == 1


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        ({}, ""),
        ({"prefix": "all: "}, "all: "),
        ({"prefix": None}, ""),
        ({"prefix": 5}, ""),
        ({"prefix": "all: ", "task_specific_params": {"text2text-generation": {"prefix": "say: "}}}, "say: "),
        ({"prefix": "all: ", "task_specific_params": {"text2text-generation": {"prefix": ""}}}, ""),
        ({"prefix": "all: ", "task_specific_params": {"text2text-generation": None}}, "all: "),
        ({"prefix": "all: ", "task_specific_params": [1]}, "all: "),
    ],
    ids=str,
)
def test_what_is_put_before_every_text(config: dict[str, Any], prefix: str) -> None:
    made = task(config, limit=None)
    [piece] = made.encode(PLAIN, made.settings({})).pieces
    assert piece["input_ids"] == made.tokenizer(prefix + PLAIN)["input_ids"]
    assert piece["attention_mask"] == [1] * len(piece["input_ids"])


@pytest.mark.parametrize(
    ("limit", "truncation", "longest"),
    [
        (LIMIT, None, LIMIT),
        (LIMIT, True, LIMIT),
        (LIMIT, "only_first", LIMIT),
        (LIMIT, False, None),
        (LIMIT, "do_not_truncate", None),
        (None, None, None),
        (None, True, 64),  # the tokenizer's own limit
        (200, True, 64),
        (200, None, 200),
    ],
)
def test_a_long_text_is_cut_at_the_limit(
    limit: int | None, truncation: Any, longest: int | None, tmp_path: Path
) -> None:
    write_foreign(tmp_path, tokenizer="t5", limit=64)
    made = task(limit=limit, tokenizer=tmp_path)
    text = PLAIN * 60
    whole = len(made.tokenizer(text)["input_ids"])
    assert whole > 200
    [piece] = made.encode(text, made.settings({"truncation": truncation})).pieces
    assert len(piece["input_ids"]) == (whole if longest is None else longest)


def test_the_first_token_of_a_stop_sequence_ends_the_text() -> None:
    made = task()
    ids = made.tokenizer("station", add_special_tokens=False)["input_ids"]
    assert made.settings({"stop_sequence": "station"}).generation.eos_token_id == (ids[0],)
    with pytest.raises(InputError, match="stop_sequence is '', which has no token"):
        made.settings({"stop_sequence": ""})


def test_a_text_without_a_token() -> None:
    made = task(tokenizer="gpt2")
    with pytest.raises(InputError, match="the text has no token; pass some text"):
        made.encode("", made.settings({}))
    assert made.encode("a", made.settings({})).pieces


def test_results_of_a_list_are_unwrapped_where_each_is_one(writer: Any) -> None:
    options = {"max_new_tokens": 4}
    each = [writer(text, **options) for text in MIXED[:2]]
    assert [len(result) for result in each] == [1, 1]
    assert writer(MIXED[:2], **options) == writer(tuple(MIXED[:2]), **options) == [result[0] for result in each]
    assert list(writer(iter(MIXED[:2]), **options)) == each
    several = writer(MIXED[:2], num_return_sequences=2, **options)
    assert [len(result) for result in several] == [2, 2]
    assert writer([], **options) == []


def test_the_tokens_in_place_of_the_text(writer: Any) -> None:
    [tokens] = writer(PLAIN, max_new_tokens=4, return_tensors=True)
    [text] = writer(PLAIN, max_new_tokens=4)
    assert list(tokens) == ["generated_token_ids"]
    assert text == {"generated_text": writer.tokenizer.decode(tokens["generated_token_ids"], skip_special_tokens=True)}
