"""Requests that write side by side: whatever joins and leaves, each gets the tokens that it gets alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle, Tokenizer
from edgepipe.backend.machine import MemoryBound
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import BundleError, InputError, OutOfMemoryError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.continuous_batching import ContinuousBatch, Running, Step
from edgepipe.generation.generate import generate
from edgepipe.generation.prompt import limit_new_tokens
from edgepipe.models import kv_memory
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.kv_cache import SharedBufferCache, SwappedBufferCache
from edgepipe.numerics import log_softmax
from tests.runtime.generation.table_decoder import TableDecoder, TableDecoding, draw_table
from tests.runtime.models.decoder.small_decoders import VOCABULARY, causal_bundle, seq2seq_bundle
from tests.runtime.models.device_memory import DEVICE
from tests.tiny import TOKENIZERS
from tests.tiny.generative import SWITCH, build_generative

pytestmark = pytest.mark.filterwarnings("ignore:.* has no cache inputs")

# Graphs whose attention writes into one buffer, with positions in the embeddings and in the keys; and one with ALiBi,
# and a cache that is concatenated.
FAMILIES = {"gpt2": SharedBufferCache, "qwen2": SharedBufferCache, "bloom": SwappedBufferCache}
MIXTURES = 70
LENGTHS = (1, 2, 5, 12, 40, 60)
CHUNKS = (None, 3, 8, 64)


@dataclass
class Request:
    """A request and what it got."""

    ids: list[int]
    config: GenerationConfig
    tokens: list[list[int]] = field(default_factory=list)
    reasons: list[Any] = field(default_factory=list)
    removed: bool = False


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Tokenizer]]:
    """``exported(family, dtype)``: a decoder of a tiny model with margins, and its tokenizer."""
    from edgepipe_export import export

    made: dict[str, Bundle] = {}

    def load(family: str, dtype: str = "fp32") -> tuple[Any, Tokenizer]:
        if family not in made:
            model, tokenizer = build_generative(family)
            dtypes = ("fp32", "int8", "w8", "q4") if family == "gpt2" else ("fp32",)
            folder = tmp_path_factory.mktemp(family) / "bundle"
            made[family] = export(model, folder, tokenizer=tokenizer, dtypes=dtypes, verify=False, progress=False)
        bundle = made[family]
        return load_decoder(bundle, dtype, SessionConfig(num_threads=1)), Tokenizer.from_pretrained(bundle.path)

    return load


def written_alone(decoder: Any, tokenizer: Tokenizer, request: Request) -> list[list[int]]:
    """The new tokens of each sequence, as the pipeline gives them for one prompt."""
    ids = np.array([request.ids])
    limited = limit_new_tokens(request.config, decoder, len(request.ids))
    found = generate(decoder, ids, np.ones_like(ids), limited, tokenizer=tokenizer)[0]
    return [each.token_ids[1:] if decoder.is_encoder_decoder else each.token_ids for each in found]


def draw_options(generator: np.random.Generator, vocabulary: int) -> dict[str, Any]:
    """Options at random."""
    options: dict[str, Any] = {"max_new_tokens": int(generator.integers(1, 24))}
    if generator.random() < 0.5:
        options |= {
            "do_sample": True,
            "seed": int(generator.integers(100)),
            "temperature": float(generator.choice([0.5, 1.0, 1.5])),
            "top_k": int(generator.choice([3, 5, 20])),
            "top_p": float(generator.choice([0.8, 1.0])),
            "num_return_sequences": int(generator.choice([1, 1, 3])),
        }
    if generator.random() < 0.2:
        options["repetition_penalty"] = 1.4
    if generator.random() < 0.2:
        options["no_repeat_ngram_size"] = 2
    if generator.random() < 0.2:
        options |= {"min_new_tokens": 4, "max_new_tokens": options["max_new_tokens"] + 4}
    if generator.random() < 0.3:
        options["eos_token_id"] = generator.choice(vocabulary, max(1, vocabulary // 20)).tolist()
    if generator.random() < 0.15:
        options["stop_strings"] = ["a", "th"]
    return options


class Mixture:
    """A batch whose requests come and go at random, and what they got."""

    def __init__(self, decoder: Any, tokenizer: Tokenizer, seed: int, **settings: Any) -> None:
        self._decoder, self._tokenizer = decoder, tokenizer
        self._generator = np.random.default_rng(seed)
        self.batch = ContinuousBatch(decoder, tokenizer, **settings)
        self.requests: dict[Running, Request] = {}
        self.most_rows = 0
        self.heads: list[list[int]] = [[]]

    def add(self, lengths: tuple[int, ...], vocabulary: int) -> None:
        """Add a request."""
        ids = self._generator.integers(3, vocabulary, int(self._generator.choice(lengths))).tolist()
        ids = self.heads[int(self._generator.integers(len(self.heads)))] + ids
        options = draw_options(self._generator, vocabulary)
        config = generation_config(self._decoder, {}, options, tokenizer=self._tokenizer)
        running = self.batch.add(ids, config, logprobs=int(self._generator.choice([0, 3])) or None)
        count = config.num_return_sequences
        self.requests[running] = Request(ids, config, [[] for _ in range(count)], [None] * count)

    def take(self, steps: list[Step]) -> None:
        """Note what came."""
        for each in steps:
            assert each.error is None
            assert each.token is not None
            request = self.requests[each.running]
            assert not request.removed
            assert request.reasons[each.sequence] is None
            request.tokens[each.sequence].append(each.token)
            request.reasons[each.sequence] = each.finish_reason
        for running in {each.running for each in steps}:
            assert running.unfinished == self.requests[running].reasons.count(None)

    def run(self, count: int, lengths: tuple[int, ...] = LENGTHS, vocabulary: int = 200) -> list[Request]:
        """Let so many requests come and go."""
        generator = self._generator
        while count or len(self.batch):
            while count and generator.random() < 0.4:
                count -= 1
                self.add(lengths, vocabulary)
            self.take(self.batch.step())
            self.most_rows = max(
                [self.most_rows, *(len(group.last) for group in self.batch._groups if group.is_shared)]
            )
            if self.requests and generator.random() < 0.05:
                running = list(self.requests)[int(generator.integers(len(self.requests)))]
                self.batch.remove(running)
                self.requests[running].removed = True
        return list(self.requests.values())


def check_alone(decoder: Any, tokenizer: Tokenizer, requests: list[Request]) -> None:
    """Each has the tokens that it gets alone, or as many of them as it was there for."""
    for request in requests:
        expected = written_alone(decoder, tokenizer, request)
        if request.removed:
            expected = [tokens[: len(own)] for own, tokens in zip(request.tokens, expected, strict=True)]
        assert request.tokens == expected, request.config
        most = limit_new_tokens(request.config, decoder, len(request.ids)).max_new_tokens
        for tokens, reason in zip(request.tokens, request.reasons, strict=True):
            assert reason in ("stop", "length") or request.removed
            ends = bool(tokens) and tokens[-1] in request.config.eos_token_id
            assert reason != "length" or (len(tokens) == most and not ends)
            assert reason != "stop" or ends or request.config.stop_strings


@pytest.mark.parametrize("family", FAMILIES)
def test_mixtures_give_what_each_request_gives_alone(family: str, exported: Any) -> None:
    decoder, tokenizer = exported(family)
    assert decoder.joins
    ids = np.array([[5, 6]])
    assert isinstance(decoder.begin(ids, np.ones_like(ids))._cache, FAMILIES[family])
    most = 0
    for seed in range(MIXTURES):
        mixture = Mixture(decoder, tokenizer, seed, max_rows=10, prompt_chunk=CHUNKS[seed % len(CHUNKS)])
        check_alone(decoder, tokenizer, mixture.run(2 + seed % 6))
        most = max(most, mixture.most_rows)
    assert most > 6, "so many shared a step"


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_that_begin_alike_give_what_each_gives_alone(family: str, exported: Any) -> None:
    decoder, tokenizer = exported(family)
    generator = np.random.default_rng(7)
    most, cached, prompts = 90 * decoder.prefixes.token_bytes, 0, 0
    for seed in range(16):
        mixture = Mixture(decoder, tokenizer, seed, prompt_chunk=CHUNKS[seed % len(CHUNKS)], prefix_bytes=most)
        head = generator.integers(3, 200, 20).tolist()
        mixture.heads = [[], head[:7], head, [*head[:12], *generator.integers(3, 200, 5).tolist()]]
        requests = mixture.run(8, lengths=(1, 2, 5, 12))
        assert 0 < decoder.prefixes.count_bytes() <= most
        cached += sum(running.cached_tokens for running in mixture.requests)
        prompts += sum(running.prompt_tokens for running in mixture.requests)
        assert all(running.cached_tokens < running.prompt_tokens for running in mixture.requests)
        decoder.prefixes.clear()
        check_alone(decoder, tokenizer, requests)
    assert cached > prompts / 4


def test_a_prompt_goes_on_from_what_another_one_read(exported: Any) -> None:
    decoder, tokenizer = exported("gpt2")
    config = generation_config(decoder, {}, {"max_new_tokens": 2})
    ids = list(range(5, 35))
    for most, rounds, cached in ((1 << 20, 1, 29), (0, 4, 0), (10 * decoder.prefixes.token_bytes, 3, 10)):
        batch = ContinuousBatch(decoder, tokenizer, prompt_chunk=8, prefix_bytes=most)
        for _ in range(2):
            running, count = batch.add(ids, config), 1
            while not batch.step():
                count += 1
            while len(batch):
                batch.step()
        assert (running.cached_tokens, count) == (cached, rounds)
        decoder.prefixes.clear()


@pytest.mark.parametrize("dtype", ["w8", "q4"])
def test_weights_of_few_bits_give_what_each_request_gives_alone_but_for_close_scores(dtype: str, exported: Any) -> None:
    # Their products round activations to 8 bits, so that a difference in the last bit of one may become one of 1/127.
    decoder, tokenizer = exported("gpt2", dtype)
    generator = np.random.default_rng(0)
    compared = 0
    for seed in range(30):
        batch = ContinuousBatch(decoder, tokenizer, prompt_chunk=CHUNKS[seed % len(CHUNKS)])
        requests: dict[Running, Request] = {}
        for _ in range(5):
            ids = generator.integers(3, 200, int(generator.choice(LENGTHS))).tolist()
            config = generation_config(decoder, {}, {"max_new_tokens": 16})
            requests[batch.add(ids, config)] = Request(ids, config, [[]])
        while len(batch):
            for each in batch.step():
                requests[each.running].tokens[0].append(each.token)  # type: ignore[arg-type]
        for request in requests.values():
            (expected,), (found,) = written_alone(decoder, tokenizer, request), request.tokens
            differing = [place for place, pair in enumerate(zip(found, expected, strict=False)) if len({*pair}) > 1]
            compared += 1
            if differing:
                text = np.array([[*request.ids, *expected[: differing[0]]]])
                scores = decoder.begin(text, np.ones_like(text)).step(text)[0]
                gap = scores[expected[differing[0]]] - scores[found[differing[0]]]
                assert abs(gap) < 0.03 * np.abs(scores).max(), "a near tie"
            else:
                assert found == expected
    assert compared == 150


def test_scales_of_a_batch_are_not_shared(exported: Any) -> None:
    decoder, tokenizer = exported("gpt2", "int8")
    for seed in range(10):
        mixture = Mixture(decoder, tokenizer, seed, shares_steps=False, prompt_chunk=3)
        check_alone(decoder, tokenizer, mixture.run(5))
        assert mixture.most_rows == 0


def test_rows_that_cross_a_switch_of_positions_are_alone(exported: Any) -> None:
    decoder, tokenizer = exported("phi3-longrope")
    assert decoder.switch_length == SWITCH
    most = 0
    for seed in range(40):
        mixture = Mixture(decoder, tokenizer, seed, prompt_chunk=CHUNKS[seed % len(CHUNKS)])
        check_alone(decoder, tokenizer, mixture.run(6, lengths=(1, 3, 6, 20)))
        most = max(most, mixture.most_rows)
    assert most > 2, "those that stay below it share"


def tokenizer_of_small_graphs() -> Tokenizer:
    return Tokenizer.from_pretrained(TOKENIZERS / "gpt2")


def reader_of_padding(folder: Path) -> Bundle:
    bundle = causal_bundle(folder, shared=True)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "roformer"}))
    return Bundle.load(bundle.path)


ALONE: dict[str, Callable[[Path], Bundle]] = {
    "an encoder-decoder": lambda folder: seq2seq_bundle(folder, shared=True),
    "an encoder-decoder that grows": lambda folder: seq2seq_bundle(folder, grows=True),
    "reads padding": reader_of_padding,
    "no cache": lambda folder: causal_bundle(folder, exported=True, cache=False),
    "another tool's": causal_bundle,
}


@pytest.mark.parametrize("kind", ALONE)
def test_what_cannot_share_takes_one_token_a_round(kind: str, tmp_path: Path) -> None:
    decoder = load_decoder(ALONE[kind](tmp_path))
    decoder.generation_config = {"decoder_start_token_id": 1} if decoder.is_encoder_decoder else {}
    tokenizer = tokenizer_of_small_graphs()
    for seed in range(20):
        mixture = Mixture(decoder, tokenizer, seed, prompt_chunk=3)
        check_alone(decoder, tokenizer, mixture.run(5, lengths=(1, 4, 9), vocabulary=VOCABULARY))
        assert mixture.most_rows == 0
    batch = ContinuousBatch(decoder, tokenizer)
    config = generation_config(decoder, {}, {"max_new_tokens": 3})
    first, second = (batch.add([4, 5, 6], config) for _ in range(2))
    assert [{each.running for each in batch.step()} for _ in range(4)] == [
        {first}, {first, second}, {first, second}, {second},
    ]  # fmt: skip


def test_columns_are_no_more_than_the_model_takes(tmp_path: Path) -> None:
    decoder = load_decoder(causal_bundle(tmp_path, shared=True))  # of 12 tokens
    tokenizer = tokenizer_of_small_graphs()
    for seed in range(MIXTURES):
        mixture = Mixture(decoder, tokenizer, seed, prompt_chunk=CHUNKS[seed % len(CHUNKS)])
        check_alone(decoder, tokenizer, mixture.run(6, lengths=(1, 4, 9, 12), vocabulary=VOCABULARY))


def test_rows_in_a_device_s_memory_have_steps_of_their_own(tmp_path: Path) -> None:
    decoder = load_decoder(causal_bundle(tmp_path, shared=True))
    decoder.session.device = DEVICE
    tokenizer = tokenizer_of_small_graphs()
    for seed in range(20):
        mixture = Mixture(decoder, tokenizer, seed, prompt_chunk=3)
        check_alone(decoder, tokenizer, mixture.run(5, lengths=(1, 4, 9), vocabulary=VOCABULARY))
        assert mixture.most_rows == 0


def table_batch(decoder: TableDecoder, **settings: Any) -> ContinuousBatch:
    return ContinuousBatch(decoder, tokenizer_of_small_graphs(), **settings)  # type: ignore[arg-type]


def test_one_step_serves_all_and_a_prompt_is_read_in_parts_beside_it() -> None:
    decoder = TableDecoder(draw_table(VOCABULARY), joins=True)
    batch = table_batch(decoder, prompt_chunk=4)
    config = GenerationConfig(max_new_tokens=5)
    first = batch.add([1, 2, 3], config)
    assert [each.running for each in batch.step()] == [first]
    second = batch.add([1] * 10, config)
    decoder.calls.clear()
    rounds = [[each.running for each in batch.step()] for _ in range(4)]
    assert rounds == [[first], [first], [first, second], [first, second]]
    assert decoder.calls == [
        ("argmax", 1), ("step", 1),
        ("argmax", 1), ("step", 1),
        ("argmax", 1), ("argmax", 1), ("join", 1),
        ("argmax", 2), ("select", 1),
    ]  # fmt: skip
    assert len(batch) == 1


def test_a_prompt_waits_until_there_is_room_for_its_rows() -> None:
    batch = table_batch(TableDecoder(draw_table(VOCABULARY), joins=True), max_rows=3)
    twice = GenerationConfig(max_new_tokens=3, do_sample=True, seed=1, num_return_sequences=2)
    first, second = batch.add([1], twice), batch.add([2], twice)
    rounds = [{each.running for each in batch.step()} for _ in range(4)]
    assert rounds == [{first}, {first}, {first, second}, {second}], "first's last round makes the room"
    batch.remove(second)
    assert len(batch) == 0
    assert second.unfinished == 0
    batch.remove(second)
    assert batch.step() == []


def test_waiting_and_reading_requests_can_be_removed() -> None:
    batch = table_batch(TableDecoder(draw_table(VOCABULARY), joins=True), prompt_chunk=2)
    config = GenerationConfig(max_new_tokens=2)
    reading, waiting, third = (batch.add([1, 2, 3, 4, 5], config) for _ in range(3))
    assert batch.step() == []
    batch.remove(reading)
    batch.remove(waiting)
    assert len(batch) == 1
    assert {each.running for _ in range(5) for each in batch.step()} == {third}


def test_log_probabilities_are_the_model_s_own() -> None:
    table = draw_table(VOCABULARY)
    batch = table_batch(TableDecoder(table, joins=True))
    ids = [1, 2, 3]
    other = batch.add([4], GenerationConfig(max_new_tokens=9))
    running = batch.add(ids, GenerationConfig(max_new_tokens=4, repetition_penalty=1.8), logprobs=3)
    while running.unfinished:
        for each in batch.step():
            if each.running is other:
                assert each.logprobs is None
                continue
            assert each.logprobs is not None
            assert each.token is not None
            expected = log_softmax(table[ids].sum(axis=0)[None].copy())[0]
            assert each.logprobs.chosen == pytest.approx(expected[each.token], abs=1e-5)
            assert [token for token, _ in each.logprobs.best] == np.argsort(-expected)[:3].tolist()
            ids.append(each.token)


class BrokenError(RuntimeError):
    """What a caller's own function may raise."""


def test_a_request_that_fails_does_not_take_the_others_with_it() -> None:
    table = draw_table(VOCABULARY)
    batch = table_batch(TableDecoder(table, joins=True))

    def fail(ids: Any, scores: Any) -> Any:
        if ids.shape[1] > 4:
            raise BrokenError
        return scores

    good = [batch.add(ids, GenerationConfig(max_new_tokens=6)) for ids in ([1, 2], [3, 4, 5])]
    bad = batch.add([6, 7], GenerationConfig(max_new_tokens=6, logits_processor=(fail,)))
    found: dict[Running, list[Step]] = {each: [] for each in (*good, bad)}
    while len(batch):
        for each in batch.step():
            found[each.running].append(each)
    assert [each.finish_reason for each in found[bad]] == [None, None, None, "error"]
    assert isinstance(found[bad][-1].error, BrokenError)
    assert bad.unfinished == 0
    for running, prompt in zip(good, ([1, 2], [3, 4, 5]), strict=True):
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(table[ids].sum(axis=0).argmax()))
        assert [each.token for each in found[running]] == ids[len(prompt) :]


def test_without_memory_to_join_a_request_goes_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = TableDecoder(draw_table(VOCABULARY), joins=True)

    def join(own: TableDecoding, other: TableDecoding) -> None:
        raise MemoryError

    monkeypatch.setattr(TableDecoding, "join", join)
    batch = table_batch(decoder)
    first, second = (batch.add([1, 2], GenerationConfig(max_new_tokens=4)) for _ in range(2))
    found: dict[Running, list[int | None]] = {first: [], second: []}
    while len(batch):
        for each in batch.step():
            found[each.running].append(each.token)
    assert len(found[first]) == 4
    assert found[first] == found[second]


class FailingDecoder(TableDecoder):
    """One whose graph fails where a row has read the token 9 a second time."""

    def begin(self, input_ids: Any, attention_mask: Any, max_length: int | None = None) -> TableDecoding:
        return FailingDecoding(self, len(input_ids))


class FailingDecoding(TableDecoding):
    def _advance(self, tokens: Any) -> Any:
        scores = super()._advance(tokens)
        if ((self._ids == 9).sum(axis=1) > 1).any():
            raise BundleError("the graph failed")
        return scores


def test_a_step_that_fails_for_all_is_taken_again_by_each() -> None:
    table = draw_table(VOCABULARY)
    table[:, 9] -= 100
    table[10, 9] += 5000  # behind a 10 come nines
    batch = table_batch(FailingDecoder(table, joins=True))
    sample = GenerationConfig(max_new_tokens=8, do_sample=True, seed=5, num_return_sequences=2, suppress_tokens=(10,))
    plain = GenerationConfig(max_new_tokens=8, suppress_tokens=(10,))
    good = [batch.add([1, 2], plain), batch.add([3, 4, 5], sample)]
    bad = batch.add([10, 9], GenerationConfig(max_new_tokens=8))
    late = batch.add([7], plain)
    found: dict[Running, list[Step]] = {each: [] for each in (*good, bad, late)}
    while len(batch):
        for each in batch.step():
            found[each.running].append(each)
    assert found[bad][-1].finish_reason == "error"
    assert isinstance(found[bad][-1].error, BundleError)
    others = {running: steps for running, steps in found.items() if running is not bad}
    assert [len(steps) for steps in others.values()] == [8, 16, 8]
    decoder = TableDecoder(table)
    for (running, steps), ids in zip(others.items(), ([1, 2], [3, 4, 5], [7]), strict=True):
        array = np.array([ids])
        expected = generate(decoder, array, np.ones_like(array), running.config)[0]  # type: ignore[arg-type]
        for sequence, tokens in enumerate(expected):
            assert [each.token for each in steps if each.sequence == sequence] == tokens.token_ids


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([1], {"num_beams": 2}, r"num_beams is 2: .*pass num_beams=1, or call the pipeline itself"),
        ([1], {"num_return_sequences": 9, "do_sample": True}, "num_return_sequences is 9, and at most 8 sequences"),
        ([], {}, r"input_ids have shape \(1, 0\)"),
        ([1, 2, 3], {"max_length": 3}, "max_length=3 leaves no room behind a prompt of 3 tokens"),
    ],
    ids=["beams", "too many sequences", "no tokens", "no room"],
)
def test_what_cannot_be_followed_is_refused_at_once(ids: list[int], options: dict[str, Any], message: str) -> None:
    batch = table_batch(TableDecoder(draw_table(VOCABULARY), joins=True), max_rows=8)
    with pytest.raises(InputError, match=message):
        batch.add(ids, GenerationConfig(**options))
    assert len(batch) == 0


def test_requests_wait_while_keys_and_values_have_no_room() -> None:
    decoder = TableDecoder(draw_table(VOCABULARY), joins=True)
    decoder.token_bytes = 10
    batch = table_batch(decoder, kv_cache_memory_bytes=150)
    config = GenerationConfig(max_new_tokens=3)  # with a prompt of three tokens 50 bytes
    running = [batch.add([1, 2, 3], config) for _ in range(5)]
    seen = []
    while len(batch):
        seen.append({running.index(each.running) for each in batch.step()})
    assert max(map(len, seen)) == 3
    assert set().union(*seen) == {0, 1, 2, 3, 4}
    assert all(each.unfinished == 0 for each in running)


def test_a_request_without_room_even_alone_is_refused() -> None:
    decoder = TableDecoder(draw_table(VOCABULARY), joins=True)
    decoder.token_bytes = 10
    batch = table_batch(decoder, kv_cache_memory_bytes=99)
    for config in (
        GenerationConfig(max_new_tokens=8),
        GenerationConfig(max_new_tokens=3, num_return_sequences=2, do_sample=True),
        GenerationConfig(max_new_tokens=3, kv_cache_memory_bytes=49),
    ):
        with pytest.raises(OutOfMemoryError, match=r"kv_cache_memory_bytes=\d\d;"):
            batch.add([1, 2, 3], config)
    batch.add([1, 2, 3], GenerationConfig(max_new_tokens=7, kv_cache_memory_bytes=1000))
    assert len(batch) == 1


def test_what_is_free_decides_where_nobody_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = TableDecoder(draw_table(VOCABULARY), joins=True)
    decoder.token_bytes = 10_000_000
    free = [100]
    monkeypatch.setattr(kv_memory, "memory_bounds", lambda: [MemoryBound("the board", 0, free[0] * 1_000_000)])
    batch = table_batch(decoder)
    config = GenerationConfig(max_new_tokens=4)  # 60 MB each
    first, second = batch.add([1, 2, 3], config), batch.add([1, 2, 3], config)
    assert [each.running for each in batch.step()] == [first]
    free[0] = 40  # the first one has its memory now
    third = batch.add([1, 2, 3], config)
    rounds = [[each.running for each in batch.step()] for _ in range(2)]
    assert rounds == [[first], [first]]
    with pytest.raises(OutOfMemoryError, match="the board has 100 MB free"):
        batch.add([1] * 9, config)
    free[0] = 150
    while len(batch):
        batch.step()
    assert not any(each.unfinished for each in (first, second, third))


def test_numbers_that_cannot_be_used_are_refused() -> None:
    decoder = TableDecoder(draw_table(VOCABULARY), joins=True)
    for settings in ({"max_rows": 0}, {"prompt_chunk": 0}):
        with pytest.raises(InputError, match="at least 1"):
            table_batch(decoder, **settings)
    with pytest.raises(InputError, match="prefix_bytes"):
        table_batch(decoder, prefix_bytes=-1)
    with pytest.raises(InputError, match="kv_cache_memory_bytes"):
        table_batch(decoder, kv_cache_memory_bytes=0)
    with pytest.raises(InputError, match="logprobs"):
        table_batch(decoder).add([1], GenerationConfig(), logprobs=-1)
