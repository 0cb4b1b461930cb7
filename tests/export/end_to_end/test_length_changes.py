"""Models that behave otherwise from some length on: what is written across it is transformers', or they are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from edgepipe import Bundle, pipeline
from edgepipe.errors import ExportError, InputError, ParityError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe_export import export
from edgepipe_export.checkpoint import length_changes
from edgepipe_export.evaluation.generation_comparison import CROSSING
from edgepipe_export.tracing import decoder
from tests.tiny import build
from tests.tiny.generation import reference
from tests.tiny.generative import SWITCH, SWITCHING, build_generative

Writer = Callable[[str], tuple[Any, Any, Bundle]]

# From far before the switch, just before it, at it, just behind it, and far behind it.
STARTS = (4, SWITCH - 2, SWITCH - 1, SWITCH, SWITCH + 1, SWITCH + 6)
NEW = 14
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "beams, the best two": {"num_beams": 4, "num_return_sequences": 2},
}


def random_ids(rows: int, length: int, tokenizer: Any) -> Any:
    return np.random.default_rng(length).integers(3, len(tokenizer), (rows, length))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("family", SWITCHING)
def test_tokens_across_the_switch_are_those_of_transformers(family: str, search: str, writer: Writer) -> None:
    model, tokenizer, bundle = writer(family)
    loaded = load_decoder(bundle)
    options = {"max_new_tokens": NEW, **SEARCHES[search]}
    for length in STARTS:
        for rows in (1, 3):
            ids = random_ids(rows, length, tokenizer)
            mask = np.ones_like(ids)
            wanted = reference(model, ids, mask, options)
            found = generate(loaded, ids, mask, generation_config(loaded, {}, options))
            assert [each.token_ids for row in found for each in row] == wanted, length


@pytest.mark.parametrize("family", ["phi3-longrope", "phimoe-longrope", "llama-longrope"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_text_writes_the_same_whatever_else_is_in_the_call(family: str, batch_size: int, writer: Writer) -> None:
    model, tokenizer, bundle = writer(family)
    texts = [tokenizer.decode(random_ids(1, length, tokenizer)[0]) for length in (*STARTS, *STARTS)]
    theirs = transformers.pipeline("text-generation", model, tokenizer=tokenizer, device="cpu")
    ours = pipeline("text-generation", bundle, batch_size=batch_size)
    options = {"do_sample": False, "max_new_tokens": NEW, "return_tensors": True}
    found = ours(texts, **options)
    for text, [each] in zip(texts, found, strict=True):
        alone = list(theirs(text, **options)[0]["generated_token_ids"])
        whole = list(each["generated_token_ids"])
        if batch_size == 1:
            assert whole == alone
        # A batch's shorter texts are filled in front and behind, as in transformers.
        start = next(place for place, token in enumerate(whole) if token == alone[0])
        assert whole[start : start + len(alone)] == alone
        assert {*whole[:start], *whole[start + len(alone) :]} <= {tokenizer.pad_token_id, tokenizer.eos_token_id}
    streamed = list(ours.stream(texts[1], do_sample=False, max_new_tokens=NEW))
    [whole] = ours(texts[1], do_sample=False, max_new_tokens=NEW, return_full_text=False)
    assert "".join(streamed) == whole["generated_text"]


def test_padded_rows_on_both_sides_of_the_switch_are_an_error(writer: Writer) -> None:
    _, tokenizer, bundle = writer("phi3-longrope")
    ids = random_ids(2, SWITCH + 2, tokenizer)
    mask = np.ones_like(ids)
    mask[1, :5] = 0
    with pytest.raises(InputError, match=f"rows of {SWITCH - 3} and of {SWITCH + 2} tokens, .* from {SWITCH + 1} "):
        load_decoder(bundle).begin(ids, mask).step(ids)


def checks(bundle: Bundle) -> dict[str, Any]:
    report = json.loads((bundle.path / "edgepipe_report.json").read_text())
    return {check["check"]: check for check in report["variants"]["fp32"]["checks"]}


@pytest.mark.parametrize("family", SWITCHING)
def test_an_export_goes_across_the_switch(family: str, tmp_path: Path) -> None:
    model, tokenizer = build_generative(family)
    bundle = export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=False)
    check = checks(bundle)[CROSSING]
    assert check["passed"]
    assert check["compared"] == 3
    assert f"goes across {SWITCH} tokens" in check["detail"]


def test_what_forgets_to_drop_its_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepipe.models.decoder.rotary_switch._RESTARTING", ())
    model, tokenizer = build_generative("phi3-longrope")
    with pytest.raises(ParityError, match=CROSSING):
        export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=False)
    assert not (tmp_path / "bundle").exists()


def test_a_graph_with_another_window_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_trace: None
) -> None:
    trace = decoder.trace_decoder

    def widen_and_trace(model: Any, opset: int | None) -> Any:
        model.config.sliding_window += 1
        try:
            return trace(model, opset)
        finally:
            model.config.sliding_window -= 1

    monkeypatch.setattr(decoder, "trace_decoder", widen_and_trace)
    model, tokenizer = build_generative("mistral-window", sliding_window=40)
    with pytest.raises(ParityError, match=CROSSING):
        export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=False)


def test_an_encoder_is_taken_across_its_window(tmp_path: Path) -> None:
    model, tokenizer = build("modernbert", local_attention=32)
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer, progress=False)
    check = checks(bundle)["tensors, random ids"]
    assert "goes across 16 tokens (half of local_attention), 32 tokens (local_attention)" in check["detail"]


def test_what_is_too_long_to_compare_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(length_changes.plan_crossings, "__defaults__", (SWITCH - 1,))
    model, tokenizer = build_generative("mistral-window")
    bundle = export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=True)
    assert checks(bundle)[CROSSING]["compared"] == 0
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["fp32"].parity
    assert parity is not None
    assert parity.figures["not_compared_beyond"] == SWITCH
    assert f"longer texts than {SWITCH} tokens were not compared" in capfd.readouterr().err


def test_positions_that_depend_on_earlier_calls_are_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model, tokenizer = build_generative("llama", rope_parameters=rope)
    with pytest.raises(ExportError, match="cannot be exported exactly: its rope type is dynamic"):
        export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer, progress=False)
