"""Which pipelines may write ahead for which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError
from edgepipe.pipelines.assistants import read_assistant
from tests.runtime.tiny_bundles import make_writer

GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 4}


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("writers")
    made = {}
    for family in ("gpt2", "llama", "bart"):
        made[family] = pipeline(model=make_writer(folder / family, family), num_threads=1, verify="never")
    yield made
    for each in made.values():
        each.close()


def test_a_pipeline_of_the_same_tokens_is_taken(writers: dict[str, Any]) -> None:
    write = writers["gpt2"]
    settings = write.settings(GREEDY)
    assert read_assistant(None, write, settings.generation) is None
    assert read_assistant(write, write, settings.generation) is write.decoder
    assert write("the sun", assistant_model=write, **GREEDY) == write("the sun", **GREEDY)
    assert write("the sun", assistant_model=None, **GREEDY) == write("the sun", **GREEDY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 3}, "assistant_model contradicts num_beams=3; pass num_beams=1, or no assistant"),
        (
            {"num_return_sequences": 2, "do_sample": True},
            "assistant_model contradicts num_return_sequences=2; pass num",
        ),
        ({"prompt_lookup_num_tokens": 4}, "assistant_model contradicts prompt_lookup_num_tokens=4; pass prompt_lookup"),
        ({"num_assistant_tokens": 0}, "num_assistant_tokens must be a whole number of at least 1, got 0"),
        ({"num_assistant_tokens": -3}, "num_assistant_tokens must be a whole number of at least 1, got -3"),
        (
            {"assistant_confidence_threshold": 2},
            "assistant_confidence_threshold must be at least 0 and at most 1, got 2",
        ),
        ({"assistant_tokenizer": object()}, "assistant_tokenizer=.* is not taken: it changes no token; leave it out"),
    ],
    ids=lambda value: f"{value!r:.40}",
)
def test_options_that_contradict_an_assistant(options: dict[str, Any], message: str, writers: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=message):
        writers["gpt2"]("the sun", assistant_model=writers["gpt2"], **GREEDY | options)


def test_what_is_no_assistant(writers: dict[str, Any], tmp_path: Path) -> None:
    write = writers["gpt2"]
    with pytest.raises(
        InputError, match=r"assistant_model .*llama has another tokenizer than .*gpt2; take a model that"
    ):
        write("the sun", assistant_model=writers["llama"], **GREEDY)
    with pytest.raises(
        InputError, match=r"assistant_model must be a pipeline for text-generation, .* got a pipeline for"
    ):
        write("the sun", assistant_model=writers["bart"], **GREEDY)
    for other in ("gpt2", tmp_path, object(), 3):
        with pytest.raises(
            InputError, match=r'must be a pipeline for text-generation, pipeline\("text-generation", BU'
        ):
            write("the sun", assistant_model=other, **GREEDY)
    with pipeline() as classify, pytest.raises(InputError, match="must be a pipeline for text-generation"):
        write("the sun", assistant_model=classify, **GREEDY)
    with pytest.raises(
        InputError, match=r"assistant_model=.* is not taken: it changes no token; leave it out, or pass"
    ):
        writers["bart"]("the sun", assistant_model=write)
    with pytest.raises(InputError, match="text-classification has no option 'assistant_model'"):
        pipeline(assistant_model=write)
    with pipeline(assistant_model=None) as classify:
        assert classify("good")


def test_an_assistant_must_take_tokens_back(writers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    write = writers["gpt2"]
    monkeypatch.setattr(write.decoder, "_joins_rows", False)
    with pytest.raises(
        InputError, match=r"assistant_model .*gpt2 cannot take tokens back, as an assistant must; take a"
    ):
        write("the sun", assistant_model=write, **GREEDY)


def test_without_lookahead_where_the_graph_does_not_allow_it(
    writers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writers["gpt2"]
    expected = write("the sun", **GREEDY)
    monkeypatch.setattr(write.decoder, "_joins_rows", False)
    with pytest.warns(
        UserWarning, match="prompt_lookup_num_tokens has no effect: this graph cannot read several tokens"
    ):
        assert write("the sun", prompt_lookup_num_tokens=3, **GREEDY) == expected
    with pytest.warns(
        UserWarning, match="prompt_lookup_num_tokens has no effect: this graph cannot read several tokens"
    ):
        writers["bart"]("the sun", prompt_lookup_num_tokens=3, num_beams=1, max_new_tokens=4)
