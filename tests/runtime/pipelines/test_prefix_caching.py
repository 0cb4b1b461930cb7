"""Cached prefixes: whatever is cached, a text is what it is without, and fewer tokens are computed."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgepipe import pipeline
from edgepipe.errors import ClosedError, InputError, LengthError, OutOfMemoryError
from edgepipe.models.decoder.causal import CausalDecoding
from edgepipe.models.kv_cache import SharedBufferCache, SwappedBufferCache
from edgepipe.models.windowed_cache import WindowedCache
from edgepipe.pipelines.prefix_caching import CachedPrefix
from edgepipe.pipelines.text_generation import TextGeneration
from edgepipe_export import export
from tests.tiny import LIMIT
from tests.tiny.generative import SWITCH, build_generative

# Positions in embeddings; in keys, with windows shorter than a prefix; ALiBi, with a cache that is concatenated.
FAMILIES = {"gpt2": SharedBufferCache, "mistral": WindowedCache, "bloom": SwappedBufferCache}
WORDS = ("the", "fox", "jumps", "over", "a", "dog", "and", "sees", "all", "money", "it", "May", "friend.", "2nd")
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6, "return_tensors": True}
# What is drawn, is repeated and is searched with beams, too.
SEARCHES: tuple[dict[str, Any], ...] = (
    GREEDY,
    GREEDY | {"do_sample": True, "seed": 3, "top_k": 5},
    GREEDY | {"num_beams": 3, "num_return_sequences": 2},
    GREEDY | {"do_sample": True, "seed": 4, "num_return_sequences": 2, "repetition_penalty": 1.4},
)
HEAD = " ".join(WORDS)
# Without shrinking, which takes minutes where each try is some searches.
_FEW = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
TEXTS = [f"{HEAD} {end}" for end in ("the dog", "a fox and all", "May", "money it sees the")]

MESSAGES = [{"role": "system", "content": HEAD}, {"role": "user", "content": "the dog"}]
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ' ' + message['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """``exported(family, dtype)``: a pipeline of a tiny model with margins."""
    folders: dict[str, Path] = {}

    def load(family: str, dtype: str = "fp32", **options: Any) -> Any:
        if family not in folders:
            model, tokenizer = build_generative(family)
            tokenizer.chat_template = TEMPLATE
            dtypes = ("fp32", "int8", "w8", "q4") if family == "gpt2" else ("fp32",)
            folders[family] = tmp_path_factory.mktemp(family) / "bundle"
            export(model, folders[family], tokenizer=tokenizer, dtypes=dtypes, verify=False, progress=False)
        return pipeline("text-generation", folders[family], dtype=dtype, num_threads=1, **options)

    return load


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each run of a graph computed."""
    counts: list[int] = []
    run = CausalDecoding._run

    def counted(self: Any, tokens: Any, before: int, **options: Any) -> Any:
        counts.append(tokens.size)
        return run(self, tokens, before, **options)

    monkeypatch.setattr(CausalDecoding, "_run", counted)
    return counts


def count(counts: list[int], call: Callable[[], Any]) -> tuple[Any, int]:
    """What a call gives, and how many tokens were computed for it."""
    counts.clear()
    return call(), sum(counts)


def length(write: Any, text: str) -> int:
    return len(write.tokenizer(text)["input_ids"])


@st.composite
def prompts_with_heads(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Some heads, which may begin alike, and prompts of which most begin with one."""
    words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
    heads = draw(st.lists(words, min_size=1, max_size=2))
    heads += [f"{heads[0]} {draw(words)}"]
    ends = draw(st.lists(st.tuples(st.sampled_from([*heads, ""]), words), min_size=1, max_size=5))
    # Without a blank between them the head's last token may be another one.
    return heads, [head + draw(st.sampled_from([" ", ""])) + end for head, end in ends]


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_without_for_random_heads(family: str, exported: Callable[..., Any]) -> None:
    write = exported(family)
    assert isinstance(write.model.begin(np.ones((1, 2), np.int64), np.ones((1, 2), np.int64))._cache, FAMILIES[family])

    @settings(_FEW)
    @given(drawn=prompts_with_heads(), options=st.sampled_from(SEARCHES), size=st.integers(1, 4))
    def compare(drawn: tuple[list[str], list[str]], options: dict[str, Any], size: int) -> None:
        heads, prompts = drawn
        alone = [write(text, **options) for text in prompts]
        together = write(prompts, batch_size=size, prefix_cache_bytes=0, **options)
        assert write(prompts, batch_size=size, **options) == together
        try:
            for head in heads:
                write.cache_prefix(head)
            assert [write(text, **options) for text in prompts] == alone
            assert write(prompts, batch_size=size, **options) == together
        finally:
            write.clear_prefixes()

    compare()


@pytest.mark.parametrize("dtype", ["w8", "q4"])
def test_variants_that_scale_each_token_use_prefixes(dtype: str, exported: Callable[..., Any]) -> None:
    write = exported("gpt2", dtype)
    alone = [write(text, **GREEDY) for text in TEXTS]
    write.cache_prefix(HEAD)
    assert [write(text, **GREEDY) for text in TEXTS] == alone


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_a_call_computes_what_is_not_cached(family: str, exported: Callable[..., Any], computed: list[int]) -> None:
    write = exported(family)
    once = GREEDY | {"max_new_tokens": 1}
    [text, *_] = TEXTS
    alone, all_tokens = count(computed, lambda: write(text, **once))
    assert all_tokens == length(write, text)
    held = write.cache_prefix(HEAD)
    assert isinstance(held, CachedPrefix)
    assert held.tokens == length(write, HEAD)
    assert held.bytes == held.tokens * write.model.prefixes.token_bytes == write.model.prefixes.count_bytes()
    found, tokens = count(computed, lambda: write(text, **once))
    assert found == alone
    assert tokens == all_tokens - held.tokens
    assert count(computed, lambda: list(write.stream(text, do_sample=False, max_new_tokens=1)))[1] == tokens
    # The prefix itself as a prompt: its last token is computed, whose scores are needed.
    assert count(computed, lambda: write(HEAD, **once))[1] == 1
    # Caching it again computes nothing, and what goes on from it computes the rest.
    assert count(computed, lambda: write.cache_prefix(HEAD)) == (held, 0)
    assert count(computed, lambda: write.cache_prefix(text))[1] == tokens
    write.clear_prefixes()
    assert write.model.prefixes.count_bytes() == 0
    assert count(computed, lambda: write(text, **once)) == (alone, all_tokens)


def test_ids_are_matched_and_not_texts(exported: Callable[..., Any], computed: list[int]) -> None:
    write = exported("gpt2")
    cut = HEAD[:-1]
    text = f"{HEAD} dog"
    common = 0
    for one, other in zip(*(write.tokenizer(each)["input_ids"] for each in (cut, text)), strict=False):
        if one != other:
            break
        common += 1
    assert 0 < common < length(write, cut)
    once = GREEDY | {"max_new_tokens": 1}
    alone, all_tokens = count(computed, lambda: write(text, **once))
    write.cache_prefix(cut)
    assert count(computed, lambda: write(text, **once)) == (alone, all_tokens - common)


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
@pytest.mark.parametrize("size", [1, 4])
def test_a_list_computes_its_head_once(
    family: str, size: int, exported: Callable[..., Any], computed: list[int]
) -> None:
    write = exported(family)
    once = GREEDY | {"max_new_tokens": 1}
    head = length(write, HEAD)
    assert head >= 32
    texts = [*TEXTS, *TEXTS[::-1]]
    apart, all_tokens = count(computed, lambda: write(texts, batch_size=size, prefix_cache_bytes=0, **once))
    write(texts, batch_size=size, **once)  # finds out whether the variant may
    shared, tokens = count(computed, lambda: write(texts, batch_size=size, **once))
    assert shared == apart
    # Twice where the first prompt is read before the second one is known.
    assert tokens <= all_tokens - (len(texts) - 2) * head
    assert write.model.prefixes.count_bytes() == 0
    assert list(write(iter(texts), batch_size=size, **once)) == apart


@pytest.mark.parametrize("asked", [False, True])
def test_variants_that_round_share_heads_when_asked(
    asked: bool, exported: Callable[..., Any], computed: list[int]
) -> None:
    options = GREEDY | {"max_new_tokens": 1} | ({"prefix_cache_bytes": 1 << 20} if asked else {})
    with exported("gpt2", "q4") as write:
        write(TEXTS, **options)  # finds out whether the variant may
        _, all_tokens = count(computed, lambda: [write(text, **options) for text in TEXTS])
        _, tokens = count(computed, lambda: write(TEXTS, **options))
    assert (tokens < all_tokens) is asked


def test_short_heads_are_not_worth_it(exported: Callable[..., Any], computed: list[int]) -> None:
    write = exported("gpt2")
    once = GREEDY | {"max_new_tokens": 1}
    texts = ["the fox jumps", "the fox sees", "the fox and"]
    assert count(computed, lambda: write(texts, **once))[1] == sum(length(write, text) for text in texts)


def test_chats_begin_alike(exported: Callable[..., Any], computed: list[int]) -> None:
    write = exported("gpt2")
    once = GREEDY | {"max_new_tokens": 1}
    alone, all_tokens = count(computed, lambda: write(MESSAGES, **once))
    held = write.cache_prefix(MESSAGES[:1])
    found, tokens = count(computed, lambda: write(MESSAGES, **once))
    assert found == alone
    # The blank behind the last message may be another token where text follows.
    assert all_tokens - held.tokens <= tokens <= all_tokens - held.tokens + 1
    assert write.cache_prefix(iter(MESSAGES[:1])) == held


def test_dynamic_scales_refuse_prefixes(exported: Callable[..., Any], computed: list[int]) -> None:
    write = exported("gpt2", "int8")
    with pytest.raises(InputError, match=r"dtype='int8' gives other scores where a prompt is read in two parts"):
        write.cache_prefix(HEAD)
    once = GREEDY | {"max_new_tokens": 1}
    assert count(computed, lambda: write(TEXTS, **once))[1] == sum(length(write, text) for text in TEXTS)


def test_models_that_cannot_use_prefixes_refuse_them(exported: Callable[..., Any]) -> None:
    write = exported("gpt2")
    write.model.prefixes = None  # as where no rows join: tests/runtime/models/decoder/test_causal.py
    with pytest.raises(InputError, match=r"with dtype='fp32' on cpu cannot use a cached prefix"):
        write.cache_prefix(HEAD)
    write.clear_prefixes()


def test_prefixes_that_cannot_be_held_are_refused_before_they_are_computed(
    exported: Callable[..., Any], computed: list[int]
) -> None:
    write: TextGeneration = exported("gpt2")
    held = write.cache_prefix("the fox")
    tokens = length(write, HEAD)
    most = held.bytes + tokens * write.model.prefixes.token_bytes - 1  # type: ignore[union-attr]
    computed.clear()
    with pytest.raises(InputError, match=rf"has {tokens} tokens, which take .* other prefixes take {held.bytes:,} of"):
        write.cache_prefix(HEAD, prefix_cache_bytes=most - held.bytes)
    with pytest.raises(LengthError, match=rf"more than the {LIMIT} that the model takes; shorten it"):
        write.cache_prefix(HEAD * 20)
    with pytest.raises(InputError, match="has no tokens"):
        write.cache_prefix("")
    with pytest.raises(InputError, match="expected a text, or a chat"):
        write.cache_prefix(5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="prefix_cache_bytes"):
        write.cache_prefix(HEAD, prefix_cache_bytes=-1)
    assert not computed
    # What both begin with is held once, so that this suffices.
    write.cache_prefix(HEAD, prefix_cache_bytes=most)


def test_too_little_memory_is_said_and_ends_no_list(
    exported: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = exported("gpt2")
    expected = write(TEXTS, **GREEDY)

    def fail(*arguments: Any, **options: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(write.model.prefixes, "insert", fail)
    with pytest.raises(OutOfMemoryError, match="there is no memory for the prefix"):
        write.cache_prefix(HEAD)
    assert write(TEXTS, **GREEDY) == expected


def test_where_positions_change_prefixes_stay_below(exported: Callable[..., Any]) -> None:
    write = exported("llama-longrope")
    short, long = "the fox jumps", " ".join(WORDS)
    assert length(write, short) < SWITCH < length(write, long)
    texts = [f"{short} over", long]
    alone = [write(text, **GREEDY) for text in texts]
    write.cache_prefix(short)
    assert [write(text, **GREEDY) for text in texts] == alone
    with pytest.raises(LengthError, match=rf"behind {SWITCH} tokens this model has other positions"):
        write.cache_prefix(long)


def test_a_pickled_pipeline_begins_without_prefixes(exported: Callable[..., Any]) -> None:
    write = exported("gpt2")
    write.cache_prefix(HEAD)
    again = pickle.loads(pickle.dumps(write))  # noqa: S301 - our own
    assert not again.model.prefixes
    assert again(TEXTS[0], **GREEDY) == write(TEXTS[0], **GREEDY)
    write.close()
    with pytest.raises(ClosedError):
        write.cache_prefix("a dog")


def test_several_threads_cache_clear_and_write(exported: Callable[..., Any]) -> None:
    write = exported("gpt2")
    expected = [write(text, **GREEDY) for text in TEXTS]
    failures: list[Any] = []

    def work(index: int) -> None:
        try:
            for _ in range(6):
                if index == 0:
                    write.cache_prefix(HEAD)
                elif index == 1:
                    write.clear_prefixes()
                assert write(TEXTS[index], **GREEDY) == expected[index]
                assert write(TEXTS, **GREEDY) == expected
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_list_that_is_not_read_to_its_end_lets_its_heads_go(exported: Callable[..., Any]) -> None:
    write = exported("gpt2")
    results: Iterator[Any] = write(iter(TEXTS), **GREEDY)
    for _ in range(3):
        next(results)
    assert write.model.prefixes.count_bytes() > 0
    results.close()  # type: ignore[attr-defined]
    assert write.model.prefixes.count_bytes() == 0
