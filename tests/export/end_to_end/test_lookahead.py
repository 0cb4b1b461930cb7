"""Exported families write with prompt lookup what they write without it, in fewer steps where a text copies."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import pipeline
from edgepipe.generation.search.step_independence import reads_ahead
from edgepipe_export import export
from tests.tiny import LIMIT
from tests.tiny.generative import build_generative

# Some with all options, and some with few, since each takes a while.
FAMILIES = {"gpt2": 6, "llama": 6, "qwen2": 1, "gemma2": 2, "opt": 1, "bloom": 1}
WORDS = ("sun", "moon", "the", "a", "sees", "old", "new", "man", "12", "!", "and", "über")
LOOKUP = {"prompt_lookup_num_tokens": 8, "max_matching_ngram_size": 3}
NEW = 20
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "repetition_penalty": {"repetition_penalty": 1.3},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 3},
    "min_new_tokens": {"min_new_tokens": 12},
    "stop_strings": {"stop_strings": ["an", "o"]},
    "draws": {"do_sample": True, "seed": 3, "temperature": 1.2},
}


def draw_prompts(tokenizer: Any) -> list[str]:
    """Texts of words that come once, that come again, and that repeat a whole run.

    They leave more room than is written, since transformers tries tokens past the limit of the model.
    """
    generator = np.random.default_rng(0)
    prompts = []
    for length in (1, 3, 6):
        words = " ".join(generator.choice(WORDS, length))
        prompts += [words, f"{words} {words}", f"{words}. {words}. {words}"]
    return [prompt for prompt in prompts if len(tokenizer(prompt)["input_ids"]) <= LIMIT - 2 * NEW]


@pytest.mark.parametrize(("family", "options"), FAMILIES.items(), ids=FAMILIES)
def test_families_write_the_same_tokens(family: str, options: int, tmp_path: Path) -> None:
    model, tokenizer = build_generative(family)
    export(model, tmp_path / "bundle", tokenizer=tokenizer, verify=False, progress=False)
    prompts = draw_prompts(tokenizer)
    assert len(prompts) > 5
    with pipeline("text-generation", tmp_path / "bundle", num_threads=1, verify="never") as write:
        for name, searched in list(OPTIONS.items())[:options]:
            call = {"do_sample": False, "max_new_tokens": NEW, "return_tensors": True, **searched}
            ahead = call | LOOKUP
            expected = write(prompts, **call)
            assert write(prompts, **ahead) == expected
            assert write(prompts, batch_size=4, **ahead) == write(prompts, batch_size=4, **call)
            if name == "nothing":
                for prompt, found in zip(prompts, expected, strict=True):
                    inputs = tokenizer(prompt, return_tensors="pt")
                    of_torch = model.generate(**inputs, do_sample=False, max_new_tokens=NEW, **LOOKUP)
                    assert found[0]["generated_token_ids"] == of_torch[0].tolist()
        call = {"do_sample": False, "max_new_tokens": NEW, "return_full_text": False}
        (expected,) = write(prompts[2], **call)
        del call["return_full_text"]
        assert "".join(write.stream(prompts[2], **call, **LOOKUP)) == expected["generated_text"]


def test_variants_that_round_activations_do_not_look_ahead(tmp_path: Path) -> None:
    model, tokenizer = build_generative("gpt2")
    export(model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=("fp32", "int8", "w8"), verify=False, max_drop=100.0)
    options = {"do_sample": False, "max_new_tokens": 8}
    ahead = {**options, "prompt_lookup_num_tokens": 4}
    for dtype in ("int8", "w8"):
        with pipeline("text-generation", tmp_path / "bundle", dtype=dtype, num_threads=1, verify="never") as write:
            expected = write("the sun the sun", **options)
            with pytest.warns(UserWarning, match=f"prompt_lookup_num_tokens has no effect: the variant {dtype} rounds"):
                assert write("the sun the sun", **ahead) == expected
            with pytest.warns(UserWarning, match="prompt_lookup_num_tokens has no effect"):
                list(write.stream("the sun the sun", **ahead))
            assert dtype == "w8" or not reads_ahead(write.decoder, 5)
    with pipeline("text-generation", tmp_path / "bundle", dtype="fp32", num_threads=1, verify="never") as write:
        assert reads_ahead(write.decoder, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write("the sun the sun", **ahead)
            write("the sun the sun", num_beams=1, prompt_lookup_num_tokens=None, **options)


def test_an_assistant_changes_no_token(tmp_path: Path) -> None:
    for seed in (0, 1):
        model, tokenizer = build_generative("gpt2", seed=seed)
        export(model, tmp_path / str(seed), tokenizer=tokenizer, verify=False, progress=False)
    prompts = draw_prompts(tokenizer)
    with (
        pipeline("text-generation", tmp_path / "0", num_threads=1, verify="never") as write,
        pipeline("text-generation", tmp_path / "1", num_threads=1, verify="never") as other,
        pipeline("text-generation", tmp_path / "0", num_threads=1, verify="never", assistant_model=other) as assisted,
    ):
        for options in OPTIONS.values():
            call = {"do_sample": False, "max_new_tokens": NEW, **options}
            expected = write(prompts, **call)
            assert write(prompts, **call, assistant_model=write, num_assistant_tokens=5) == expected
            assert assisted(prompts, **call, assistant_confidence_threshold=0.0) == expected
            assert assisted(prompts[0], **call) == expected[0]
        text = "".join(assisted.stream(prompts[1], do_sample=False, max_new_tokens=NEW))
        assert prompts[1] + text == write(prompts[1], do_sample=False, max_new_tokens=NEW)[0]["generated_text"]
