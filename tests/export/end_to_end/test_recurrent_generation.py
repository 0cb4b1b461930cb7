"""XLNet writes: an exported tiny model beside transformers' pipeline, with its prefix and batches as they are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import transformers

from edgepipe import Bundle, pipeline
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.errors import ExportError
from edgepipe_export import export
from tests.tiny.generative import build_generative

PROMPTS = ["Hello there, my friend", "a", "The 2nd of May", "What a waste of time", "b"]
GREEDY = {"max_new_tokens": 12, "do_sample": False}


@pytest.fixture(scope="module")
def both(writer: Callable[[str], tuple[Any, Any, Bundle]]) -> tuple[Any, Any]:
    """transformers' pipeline and ours, over one tiny model."""
    model, tokenizer, bundle = writer("xlnet")
    return transformers.pipeline("text-generation", model=model, tokenizer=tokenizer), pipeline(model=bundle)


@pytest.mark.parametrize(
    "options",
    [
        GREEDY,
        GREEDY | {"num_beams": 3},
        GREEDY | {"num_beams": 4, "num_return_sequences": 2},
        # Sampling from one token is not left to chance.
        {"max_new_tokens": 6, "do_sample": True, "top_k": 1, "num_return_sequences": 2},
        GREEDY | {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2},
        GREEDY | {"prefix": "Once", "return_full_text": False},
        GREEDY | {"prefix": ""},
    ],
    ids=str,
)
def test_texts_are_those_of_transformers(options: dict[str, Any], both: tuple[Any, Any]) -> None:
    reference, write = both
    assert write(PROMPTS[0], **options) == reference(PROMPTS[0], **options)
    # Padding is read like any token, so that batches matter, and are those of transformers.
    assert write(PROMPTS, batch_size=2, **options) == reference(PROMPTS, batch_size=2, **options)


def test_lengths_count_the_prefix_also_where_a_call_has_none(both: tuple[Any, Any]) -> None:
    reference, write = both
    for options in ({"max_length": 9}, {"max_length": 9, "prefix": "Once"}, {"max_length": 5, "prefix": ""}):
        assert write(PROMPTS[1], do_sample=False, **options) == reference(PROMPTS[1], do_sample=False, **options)
    # Rows of a batch are as long as its padding lets them be.
    options = {"max_length": 15, "do_sample": False, "batch_size": 2}
    assert write(PROMPTS, **options) == reference(PROMPTS, **options)


def test_a_batch_depends_on_its_padding_and_a_stream_has_none(both: tuple[Any, Any]) -> None:
    reference, write = both
    alone = [write(prompt, **GREEDY) for prompt in PROMPTS]
    assert write(PROMPTS, batch_size=5, **GREEDY) == reference(PROMPTS, batch_size=5, **GREEDY) != alone
    assert "".join([PROMPTS[0], *write.stream(PROMPTS[0], **GREEDY)]) == alone[0][0]["generated_text"]


def test_an_export_is_compared_across_its_memory(tmp_path: Any) -> None:
    model, tokenizer = build_generative("xlnet", mem_len=10)
    bundle = export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=False)
    report = (bundle.path / REPORT_NAME).read_text()
    assert "goes across 10 tokens (mem_len)" in report


@pytest.mark.parametrize("config", [{"attn_type": "uni"}, {"bi_data": True}], ids=str)
def test_what_transformers_cannot_run_is_refused(config: dict[str, Any], tmp_path: Any) -> None:
    model, tokenizer = build_generative("xlnet", **config)
    with pytest.raises(ExportError, match="with attn_type uni transformers itself fails"):
        export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=False)
