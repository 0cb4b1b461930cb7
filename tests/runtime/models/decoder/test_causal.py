"""Decoder-only graphs step by step, beside numpy's logits for the whole text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from edgepipe import Bundle
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import InputError
from edgepipe.models.decoder.causal import READ_PADDING, CausalDecoding, CausalGraph
from edgepipe.models.kv_cache import SharedBufferCache, SwappedBufferCache
from tests.runtime.models.decoder.small_decoders import LIMIT, VOCABULARY, causal_bundle, causal_logits, step_by_step
from tests.runtime.models.device_memory import DEVICE
from tests.tiny.generative import DECODERS, REFUSED, build_generative

KINDS: dict[str, dict[str, Any]] = {
    "a cache that grows": {},
    "a cache in one buffer": {"shared": True},
    "no cache": {"cache": False},
    "no positions": {"positions": False},
    "int32": {"integers": TensorProto.INT32},
    "all logits": {"keep": ""},
    "logits it is told of": {"keep": "required"},
    "no limit": {"limit": None},
}
# Of the second row three tokens are padding.
IDS = np.random.default_rng(1).integers(0, VOCABULARY, (2, 9))
MASK = np.ones_like(IDS)
MASK[1, :3] = 0
PROMPT = 5

without_a_cache = pytest.mark.filterwarnings("ignore:.* has no cache inputs")


@without_a_cache
@pytest.mark.parametrize("kind", KINDS)
def test_each_step_gives_what_the_whole_text_gives(kind: str, tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, **KINDS[kind]))
    expected = causal_logits(IDS, MASK, positions=KINDS[kind].get("positions", True))
    for room in (None, 9, 2):
        decoding = decoder.begin(IDS[:, :PROMPT], MASK[:, :PROMPT], room)
        found = step_by_step(decoding, IDS, (PROMPT, 1, 1, 2))
        np.testing.assert_allclose(found, expected[:, [4, 5, 6, 8]], rtol=1e-4, atol=1e-4)


@without_a_cache
@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_of_every_token(kind: str, tmp_path: Path) -> None:
    found = CausalGraph(causal_bundle(tmp_path, **KINDS[kind])).scores(IDS, MASK)
    expected = causal_logits(IDS, MASK, positions=KINDS[kind].get("positions", True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@without_a_cache
@pytest.mark.parametrize("kind", ["a cache that grows", "a cache in one buffer", "no cache"])
def test_rows_keep_their_padding_when_they_move(kind: str, tmp_path: Path) -> None:
    decoding = CausalGraph(causal_bundle(tmp_path, **KINDS[kind])).begin(IDS[:, :PROMPT], MASK[:, :PROMPT])
    decoding.step(IDS[:, :PROMPT])
    rows = np.array([1, 0, 1])
    decoding.select(rows)
    ids, mask = IDS[rows, : PROMPT + 1], MASK[rows, : PROMPT + 1]
    ids[:, -1] = [7, 8, 9]
    found = decoding.step(ids[:, -1:])
    np.testing.assert_allclose(found, causal_logits(ids, mask)[:, -1], rtol=1e-4, atol=1e-4)


def test_two_texts_at_once_do_not_meet(tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, shared=True))
    first, second = (decoder.begin(IDS[[row], :PROMPT], MASK[[0], :PROMPT]) for row in (0, 1))
    for end in range(PROMPT, 9):
        start = 0 if end == PROMPT else end - 1
        for row, decoding in enumerate((first, second)):
            found = decoding.step(IDS[[row], start:end])
            np.testing.assert_allclose(found, causal_logits(IDS[[row], :end])[:, -1], rtol=1e-4, atol=1e-4)


def test_the_manifest_says_whether_past_and_present_are_one(tmp_path: Path) -> None:
    for name, shared, kind in (("one", True, SharedBufferCache), ("two", False, SwappedBufferCache)):
        decoder = CausalGraph(causal_bundle(tmp_path / name, shared=shared))
        assert decoder.shares is shared
        assert isinstance(decoder.begin(IDS, MASK)._cache, kind)
    assert not decoder.is_encoder_decoder
    assert decoder.max_source_length is None


def test_a_graph_without_a_cache_is_said_to_be_slow(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path, cache=False)
    with pytest.warns(UserWarning, match="has no cache inputs .*every step computes the whole text again"):
        CausalGraph(bundle)


@pytest.mark.parametrize("family", [family for family in DECODERS if family not in (*REFUSED, "xlnet")])
@pytest.mark.filterwarnings("ignore")
def test_the_models_that_read_padding_are_those_of_the_table(family: str) -> None:
    model, tokenizer = build_generative(family)
    texts = ["I love this film", "What a waste of time and money, he said"]

    def first_logits(prompts: list[str]) -> torch.Tensor:
        encoded = tokenizer(prompts, padding=True, return_tensors="pt")
        output = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=1,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        logits: torch.Tensor = output.logits[0][0]
        return logits

    difference = float((first_logits(texts[:1]) - first_logits(texts)).abs().max())
    assert (difference > 1e-3) is (model.config.model_type in READ_PADDING)


joining = pytest.mark.parametrize("kind", ["a cache that grows", "a cache in one buffer", "no positions"])


@joining
def test_rows_that_join_go_on_as_they_would_alone(kind: str, tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, exported=True, **KINDS[kind]))
    assert decoder.joins
    texts = [IDS[0, :5], IDS[1, :2], IDS[0, 2:9]]  # the second is shorter than the first, the third longer
    rows: list[list[int]] = []
    running = None
    for text in texts:
        decoding = decoder.begin(text[None], np.ones((1, len(text)), np.int64))
        decoding.step(text[None])
        rows.append(text.tolist())
        if running is None:
            running = decoding
        else:
            running.join(decoding)
        new = np.arange(len(rows)) + len(text) % 3
        found = running.step(new[:, None])
        for row, token, scores in zip(rows, new.tolist(), found, strict=True):
            row.append(token)
            expected = causal_logits([row], positions=KINDS[kind].get("positions", True))[0, -1]
            np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


@joining
@pytest.mark.parametrize("padding", [0, 2])
def test_tokens_that_were_read_at_once_are_taken_back(kind: str, padding: int, tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, exported=True, **KINDS[kind]))
    mask = np.ones((1, 9), np.int64)
    mask[0, :padding] = 0
    positions = KINDS[kind].get("positions", True)
    for room in (12, 6):
        decoding = decoder.begin(IDS[:1, :4], mask[:, :4], room)
        decoding.step(IDS[:1, :4])
        for wrong, length in ((IDS[1:, 4:8], 4), (IDS[1:, 5:6], 5), (IDS[1:, 6:9], 6)):
            # Tokens that are forgotten again, behind those that stay.
            ids = np.concatenate([IDS[:1, :length], wrong], axis=1)
            found = decoding.step_every(wrong)
            seen = np.concatenate([mask[:, :length], np.ones_like(wrong)], axis=1)
            expected = causal_logits(ids, seen, positions=positions)[:, length:]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
            decoding.forget(wrong.shape[1])
            found = decoding.step(IDS[:1, length : length + 1])
            expected = causal_logits(IDS[:1, : length + 1], mask[:, : length + 1], positions=positions)[:, -1]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@joining
def test_padding_of_all_rows_goes_when_it_is_much(kind: str, tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, exported=True, **KINDS[kind]))
    lengths = (9, 2, 3)
    decodings = [decoder.begin(IDS[[0], :length], np.ones((1, length), np.int64)) for length in lengths]
    for length, decoding in zip(lengths, decodings, strict=True):
        decoding.step(IDS[[0], :length])
    first, second, third = decodings
    first.join(second)
    first.join(third)
    first.select(np.array([2, 1]))
    first.drop_padding()
    assert first._history.tokens.shape == first._mask.shape == (2, 3)
    first.select(np.array([1]))
    first.drop_padding()
    assert first._mask.tolist() == [[1, 1]]
    found = first.step(np.array([[7]]))
    expected = causal_logits([[*IDS[0, :2].tolist(), 7]], positions=KINDS[kind].get("positions", True))
    np.testing.assert_allclose(found, expected[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("writing", ["scaled queries", "grouped heads", "length of the past", "bounded scores"])
def test_on_openvino_rows_go_on_as_on_onnxruntime(
    writing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system, or is not installed")
    bundle = causal_bundle(tmp_path, exported=True, writing=writing)
    here, there = (CausalGraph(bundle, session=SessionConfig(device)) for device in ("cpu", "openvino"))
    assert bool(there.session.states) is (writing != "bounded scores")
    assert not there.shares
    assert there.count_cache_bytes(1, 1, 5, 8) == here.count_cache_bytes(1, 1, 5, 8)
    monkeypatch.setattr("edgepipe.models.decoder.causal._WORTH_READING_APART", 1)

    def write(decoder: CausalGraph) -> list[NDArray[np.float32]]:
        found = []

        def step(decoding: CausalDecoding, *tokens: list[int]) -> None:
            found.append(decoding.step(np.array(tokens)).copy())

        def begin(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> CausalDecoding:
            decoding = decoder.begin(ids, mask)
            found.append(decoding.step(ids).copy())
            return decoding

        running = begin(IDS[:, :PROMPT], MASK[:, :PROMPT])
        step(running, [1], [2])
        running.select(np.array([1, 0, 1]))  # beams
        step(running, [3], [4], [5])
        running.select(np.array([1, 2]))
        running.join(begin(IDS[:1, :3], MASK[:1, :3]))  # requests side by side
        step(running, [6], [7], [8])
        running.select(np.array([2]))
        running.drop_padding()
        found.append(running.step_every(np.array([[9, 1, 2]])))  # lookahead
        running.forget(2)
        step(running, [3])
        assert decoder.cache_prefix(IDS[0, :4].tolist(), 1 << 20, pinned=True)
        assert decoder.cache_prefix(IDS[1, 3:4].tolist(), 1 << 20, pinned=True)
        for rows in (1, 2):
            cached = begin(IDS[:rows, :PROMPT], MASK[:rows, :PROMPT])
            step(cached, *[[5]] * rows)
            cached.select(np.zeros(3, np.int64))
            step(cached, [6], [7], [8])
        every = decoder.scores(IDS, MASK)
        return [*found, every[0], every[1, 3:]]

    for found, expected in zip(write(there), write(here), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def begin_row(decoder: CausalGraph, length: int) -> CausalDecoding:
    """A row that has read so many tokens of the first text."""
    decoding = decoder.begin(IDS[:1, :length], np.ones((1, length), np.int64))
    decoding.step(IDS[:1, :length])
    return decoding


def test_little_padding_stays_until_the_model_takes_no_more_columns(tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, shared=True))
    first = begin_row(decoder, 8)
    first.join(begin_row(decoder, 7))
    first.select(np.array([1]))
    first.drop_padding()
    assert first._mask.shape == (1, 8)
    text = IDS[0, :7].tolist()
    for token in range(LIMIT - 7):
        text.append(token)
        found = first.step(np.array([[token]]))
        np.testing.assert_allclose(found, causal_logits([text])[:, -1], rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="13 tokens are more than the 12"):
        first.step(np.array([[1]]))


@without_a_cache
def test_what_joins_and_what_does_not(tmp_path: Path) -> None:
    exported = CausalGraph(causal_bundle(tmp_path / "exported", exported=True))
    assert exported.joins
    assert exported.can_cache(LIMIT)
    foreign = CausalGraph(causal_bundle(tmp_path / "another tool's"))
    assert not foreign.joins
    assert foreign.prefixes is None
    assert not foreign.can_cache(1)
    assert not CausalGraph(causal_bundle(tmp_path / "none", exported=True, cache=False)).joins
    bundle = causal_bundle(tmp_path / "reader", exported=True)
    settings = json.loads((bundle.path / "config.json").read_text())
    (bundle.path / "config.json").write_text(json.dumps(settings | {"model_type": "roformer"}))
    assert not CausalGraph(Bundle.load(bundle.path)).joins
    on_device = CausalGraph(causal_bundle(tmp_path / "device", exported=True))
    on_device.session.device = DEVICE
    assert not on_device.joins


@pytest.mark.parametrize("kind", ["a cache that grows", "a cache in one buffer", "no positions"])
@pytest.mark.parametrize("rows", [1, 2])
def test_prompts_go_on_from_what_is_cached_of_them(
    kind: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, exported=True, **KINDS[kind]))
    expected = causal_logits(IDS, MASK, positions=KINDS[kind].get("positions", True))[:rows]
    monkeypatch.setattr("edgepipe.models.decoder.causal._WORTH_READING_APART", 1)
    assert decoder.prefixes is not None
    assert decoder.cache_prefix(IDS[0, :4].tolist(), 1 << 20, pinned=True)
    assert decoder.cache_prefix(IDS[1, 3:4].tolist(), 1 << 20, pinned=True)
    for room in (None, 9, 2):
        decoding = decoder.begin(IDS[:rows, :PROMPT], MASK[:rows, :PROMPT], room)
        assert (decoding.cached, decoding.reads_apart) == ((4, False) if rows == 1 else (0, True))
        found = step_by_step(decoding, IDS[:rows], (PROMPT, 1, 1, 2))
        np.testing.assert_allclose(found, expected[:, [4, 5, 6, 8]], rtol=1e-4, atol=1e-4)
        assert decoding.cached == 0


@pytest.mark.parametrize("kind", ["a cache that grows", "a cache in one buffer"])
def test_what_is_cached_is_not_written_by_later_runs(kind: str, tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, exported=True, **KINDS[kind]))
    assert decoder.prefixes is not None
    ids = IDS[:1]
    for part in (ids[:, :6], ids):
        decoding = decoder.begin(part, np.ones_like(part))
        decoding.step(part)
        decoding.keep_prompt(1 << 20)
    before = [[array.copy() for array in each] for each in decoder.prefixes.match(ids[0])[1]]
    for _ in range(2):
        decoding = decoder.begin(ids[:, :7], np.ones((1, 7), np.int64))
        for token in (1, 2, 3):
            decoding.step(ids[:, :7] if token == 1 else np.array([[token]]))
        decoding.select(np.zeros(3, np.int64))
    length, after = decoder.prefixes.match(ids[0])
    assert length == ids.shape[1]
    for one, other in zip(before, after, strict=True):
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_prompts_with_masked_tokens_compute_all(tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, exported=True))
    assert decoder.cache_prefix(IDS[0, :4].tolist(), 1 << 20, pinned=False)
    hole = np.array([[1, 1, 0, 1, 1]])
    for mask in (hole, np.array([[0, 1, 1, 1, 1]])):
        decoding = decoder.begin(IDS[:1, :5], mask)
        assert decoding.cached == 0
    np.testing.assert_allclose(
        decoding.step(IDS[:1, :5]), causal_logits(IDS[:1, :5], mask)[:, -1], rtol=1e-4, atol=1e-4
    )


def test_positions_change_with_the_tokens_of_a_row_and_not_with_its_columns(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path, shared=True)
    settings = json.loads((bundle.path / "config.json").read_text())
    rope = {"rope_scaling": {"rope_type": "longrope"}, "original_max_position_embeddings": 5}
    (bundle.path / "config.json").write_text(json.dumps(settings | rope))
    decoder = CausalGraph(Bundle.load(bundle.path))
    assert decoder.switch_length == 5
    first = begin_row(decoder, 5)
    first.join(begin_row(decoder, 4))
    first.select(np.array([1]))
    first.step(np.array([[3]]))  # the sixth column, and the fifth token
    other = begin_row(decoder, 2)
    first.join(other)
    with pytest.raises(InputError, match=r"a batch has rows of 3 and of 6 tokens"):
        first.step(np.array([[3], [3]]))


@pytest.mark.parametrize("length", [5, 8, 9])
def test_a_long_prompt_is_read_in_parts(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepipe.models.decoder.causal._LONGEST_PART", 4)
    monkeypatch.setattr("edgepipe.models.decoder.causal._PART_STEP", 2)
    decoder = CausalGraph(causal_bundle(tmp_path, shared=True, exported=True))
    ids = IDS[:1, :length]
    decoding = decoder.begin(ids, np.ones_like(ids), 12)
    parts = [part.shape[1] for part in decoding._split(ids)]
    assert parts == {5: [4, 1], 8: [4, 4], 9: [4, 4, 1]}[length]
    found = decoding.step(ids).copy()
    np.testing.assert_allclose(found, causal_logits(ids)[:, -1], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(decoding._history.tokens, ids)
    after = decoding.step(np.array([[7]]))
    expected = causal_logits([[*ids[0].tolist(), 7]])[:, -1]
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-4)


def test_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepipe.models.decoder.causal._LONGEST_PART", 4)
    monkeypatch.setattr("edgepipe.models.decoder.causal._PART_STEP", 2)
    ids, mask = IDS[:1, :8], np.ones((1, 8), np.int64)
    shared = CausalGraph(causal_bundle(tmp_path / "shared", shared=True, exported=True))
    growing = CausalGraph(causal_bundle(tmp_path / "growing", exported=True))
    padded = mask.copy()
    padded[0, :2] = 0
    several = shared.begin(IDS[:, :8], np.ones((2, 8), np.int64))
    assert len(several._split(IDS[:, :8])) == 1
    assert len(shared.begin(ids, padded)._split(ids)) == 1
    assert len(growing.begin(ids, mask)._split(ids)) == 1
    every = shared.begin(ids, mask)
    every._logits.give_every(True)
    assert len(every._split(ids)) == 1
    assert len(shared.begin(ids, mask)._split(ids)) == 2
    np.testing.assert_allclose(shared.scores(ids, mask), causal_logits(ids), rtol=1e-4, atol=1e-4)
