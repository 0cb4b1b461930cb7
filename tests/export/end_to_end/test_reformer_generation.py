"""Reformer writes: an exported tiny model beside transformers' pipeline, with local attention and with hashes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from edgepipe import pipeline
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.errors import ExportError
from edgepipe_export import export
from tests.tiny.generative import build_generative

KINDS: dict[str, dict[str, Any]] = {
    "local": {},
    "hashes": {"attn_layers": ["lsh", "local"], "hash_seed": 5},
}
# Up to a chunk, some chunks, and one that grows into its first chunk.
PROMPTS = ["Hello there, my friend", "a", "What a waste of time", "The 2nd of May", "abc"]
GREEDY = {"max_new_tokens": 20, "do_sample": False}
BEAMS = {"max_new_tokens": 16, "num_beams": 3, "do_sample": False}

Both = tuple[Any, Any]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Both]:
    """A function that gives transformers' pipeline and ours, over one tiny model of a kind; each is made once."""
    made: dict[str, Both] = {}

    def make(kind: str) -> Both:
        if kind not in made:
            model, tokenizer = build_generative("reformer", **KINDS[kind])
            folder: Path = tmp_path_factory.mktemp("reformer") / "bundle"
            bundle = export(model, folder, task="text-generation", tokenizer=tokenizer, progress=False)
            reference = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
            made[kind] = (reference, pipeline(model=bundle))
        return made[kind]

    return make


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [GREEDY, BEAMS, BEAMS | {"num_return_sequences": 2, "no_repeat_ngram_size": 2}], ids=str
)
def test_texts_are_those_of_transformers(kind: str, options: dict[str, Any], both: Callable[[str], Both]) -> None:
    reference, write = both(kind)
    assert write(PROMPTS, **options) == reference(PROMPTS, **options)


def test_padding_is_read_like_any_token(both: Callable[[str], Both]) -> None:
    reference, write = both("local")
    expected = reference(PROMPTS, batch_size=2, **GREEDY)
    assert write(PROMPTS, batch_size=2, **GREEDY) == expected != reference(PROMPTS, **GREEDY)


def test_rows_that_would_read_the_first_one_go_alone(both: Callable[[str], Both]) -> None:
    reference, write = both("hashes")
    alone = reference(PROMPTS, **GREEDY)
    assert write(PROMPTS, batch_size=2, **GREEDY) == alone != reference(PROMPTS, batch_size=2, **GREEDY)


def test_exports_are_compared_across_their_chunks(both: Callable[[str], Both]) -> None:
    for kind in KINDS:
        report = (both(kind)[1].decoder.directory / REPORT_NAME).read_text()
        assert "8 tokens (local_attn_chunk_length)" in report


@pytest.mark.parametrize(
    "config",
    [
        {"attn_layers": ["lsh", "local"]},
        {"local_num_chunks_before": 2},
        {"attn_layers": ["lsh", "local"], "hash_seed": 5, "lsh_attn_chunk_length": 4},
    ],
    ids=str,
)
def test_what_cannot_be_stepped_exactly_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    model, tokenizer = build_generative("reformer", **config)
    with pytest.raises(ExportError, match="ReformerModelWithLMHead cannot be exported exactly"):
        export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=False)
