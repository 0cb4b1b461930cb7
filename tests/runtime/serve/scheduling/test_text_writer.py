"""Texts for many requests at once are those of each alone; and who goes, waits, or is refused."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import ClosedError, EdgepipeError, InputError, OutOfMemoryError
from edgepipe.serve.call import Call, CancelledCallError, RefusedError
from edgepipe.serve.scheduling.text_writer import TextWriter
from edgepipe.serve.settings import Limits
from tests.tiny.generation import export_generative

PROMPTS = ("Hello there, my friend", "a", "The 2nd of May was", "What a waste of time. I want my money back and", "b c")
GREEDY: dict[str, Any] = {"do_sample": False, "num_beams": 1}
OPTIONS: tuple[dict[str, Any], ...] = (
    {**GREEDY, "max_new_tokens": 12},
    {"num_beams": 1, "max_new_tokens": 5, "do_sample": True, "seed": 3},
    {**GREEDY, "max_new_tokens": 20, "repetition_penalty": 1.4},
    {**GREEDY, "max_new_tokens": 9, "min_new_tokens": 9},
    {"max_new_tokens": 7, "num_beams": 3, "do_sample": False},
    {"max_new_tokens": 6, "num_return_sequences": 2, "num_beams": 1, "do_sample": True, "seed": 1},
    {**GREEDY, "max_new_tokens": 8, "return_tensors": True},
)


class Counts:
    """What the writer told; and what holds it, where a test lets it go step by step."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.written = self.read_tokens = self.cached_tokens = 0
        self.waits = 0
        self.steps: threading.Semaphore | None = None

    def waiting(self, tokens: int) -> None:
        self.waits = tokens

    def ran(self, rows: int, tokens: int, seconds: float) -> None:
        self.rows.append(rows)

    def wrote(self, tokens: int) -> None:
        self.written += tokens
        if (steps := self.steps) is not None:
            assert steps.acquire(timeout=60)

    def read(self, tokens: int, cached: int) -> None:
        self.read_tokens += tokens
        self.cached_tokens += cached

    def tell(self, message: str) -> None:
        raise AssertionError(message)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            _, _, bundle = export_generative(family, tmp_path_factory.mktemp(family))
            made[family] = bundle.path
        return made[family]

    return make


def write(folder: Path, use: Callable[[TextWriter, Any, Counts], Coroutine[Any, Any, Any]], **limits: Any) -> Any:
    """Run something with a writer, and close it."""
    counts = Counts()

    async def run() -> Any:
        task: Any = pipeline(model=folder, verify="never")
        writer = TextWriter(task, Limits(**limits), counts)
        try:
            return await use(writer, task, counts)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, writer.close)

    return asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that the writer's thread does."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_many_at_once_get_what_each_gets_alone(bundles: Any, family: str) -> None:
    folder = bundles(family)
    asked = [(PROMPTS[number % 5], OPTIONS[number % 7]) for number in range(35)]
    if family == "t5":
        asked = [
            (text, {key: value for key, value in each.items() if key != "return_full_text"}) for text, each in asked
        ]
    with pipeline(model=folder, verify="never") as alone, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [alone(text, **options) for text, options in asked]

    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(writer.run(text, options, Call())) for text, options in asked]
        assert max(counts.rows) > 1
        return [each.result() for each in tasks]

    found = write(folder, ask)
    assert found == expected


@pytest.mark.parametrize("prefix_bytes", [0, 1 << 20])
def test_prompts_that_begin_alike_read_it_once(bundles: Any, prefix_bytes: int) -> None:
    head = "What a waste of time. I want"
    prompts = [f"{head} {end}" for end in PROMPTS]
    options = {**GREEDY, "max_new_tokens": 6}
    with pipeline(model=bundles("gpt2"), verify="never") as alone:
        expected = [alone(text, **options) for text in prompts]
        lengths = [len(alone.tokenizer(text)["input_ids"]) for text in prompts]
        shared = len(alone.tokenizer(head)["input_ids"])

    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        found = [await writer.run(text, options, Call()) for text in prompts]
        return found, counts.read_tokens, counts.cached_tokens

    found, read, cached = write(bundles("gpt2"), ask, prefix_bytes=prefix_bytes)
    assert found == expected
    assert read == sum(lengths)
    assert cached == 0 if not prefix_bytes else cached >= 4 * shared


def test_a_stream_has_the_text_piece_by_piece(bundles: Any) -> None:
    with pipeline(model=bundles("gpt2"), verify="never") as alone:
        [expected] = alone(PROMPTS[0], max_new_tokens=15, do_sample=False, return_full_text=False)

    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        writing = await writer.start(PROMPTS[0], {**GREEDY, "max_new_tokens": 15}, Call(), logprobs=2)
        return writing.prompt_tokens, [each async for each in writing], len(task.tokenizer(PROMPTS[0])["input_ids"])

    prompt_tokens, pieces, length = write(bundles("gpt2"), ask)
    assert prompt_tokens == length
    assert "".join(each.text for each in pieces) == expected["generated_text"]
    assert [each.finish_reason for each in pieces] == [None] * 14 + ["length"]
    assert all(each.logprobs.best[0] == (each.token_id, each.logprobs.chosen) for each in pieces)


def test_who_goes_leaves_the_batch_and_the_others_stay(bundles: Any) -> None:
    with pipeline(model=bundles("gpt2"), verify="never") as alone:
        expected = alone(PROMPTS[2], max_new_tokens=30, do_sample=False)

    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        steps = counts.steps = threading.Semaphore(0)
        going = aiter(await writer.start(PROMPTS[0], {"max_new_tokens": 40}, call := Call()))
        await until(lambda: counts.written == 1)
        staying = asyncio.create_task(writer.run(PROMPTS[2], {**GREEDY, "max_new_tokens": 30}, Call()))
        await until(lambda: counts.waits > 0)
        steps.release()
        await until(lambda: counts.written == 3)
        assert [(await anext(going)).finish_reason for _ in range(2)] == [None, None]
        call.cancelled, counts.steps = True, None
        steps.release()
        result = await staying
        with pytest.raises(CancelledCallError):
            await writer.run("a", {"max_new_tokens": 5}, Call(cancelled=True))
        return result, counts.written, counts.rows

    result, written, rows = write(bundles("gpt2"), ask)
    assert result == expected
    assert (written, rows) == (32, [1, 2] + [1] * 29)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"max_new_tokens": 2, "num_beams": 20}, RefusedError, "at most 16 here"),
        ({"max_new_tokens": 50}, RefusedError, "tokens, new ones included, are more than the 40 of a request"),
        ({"max_new_tokens": -1}, InputError, "max_new_tokens"),
        ({"no_such": 1}, InputError, "no_such"),
    ],
    ids=["beams", "tokens", "value", "name"],
)
def test_what_is_refused(bundles: Any, options: dict[str, Any], kind: type[EdgepipeError], message: str) -> None:
    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        with pytest.raises(kind, match=message):
            await writer.run("a", options, Call())
        with pytest.raises(EdgepipeError):
            await writer.start("a", options, Call())

    write(bundles("gpt2"), ask, tokens=40)


def test_a_stream_is_one_text(bundles: Any) -> None:
    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        with pytest.raises(InputError, match="is one, without beams"):
            await writer.start("a", {"num_beams": 2}, Call())

    write(bundles("gpt2"), ask)


def test_the_queue_is_bounded_and_rows_are(bundles: Any) -> None:
    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        steps = counts.steps = threading.Semaphore(0)
        sent = [asyncio.create_task(writer.run("a", {"max_new_tokens": 20}, Call())) for _ in range(12)]
        await until(lambda: any(each.done() for each in sent))  # one was refused: nothing else ends before a step
        counts.steps = None
        steps.release()
        done = await asyncio.gather(*sent, return_exceptions=True)
        return [each.status if isinstance(each, RefusedError) else 200 for each in done], max(counts.rows)

    statuses, rows = write(bundles("gpt2"), ask, queue=120, rows=2)
    assert set(statuses) == {200, 429}
    assert rows <= 2


def test_keys_and_values_are_bounded_by_the_server_alone(bundles: Any) -> None:
    options = {**GREEDY, "max_new_tokens": 6, "min_new_tokens": 6}
    with pipeline(model=bundles("gpt2"), verify="never") as alone:
        expected = alone("b c", **options)
        token = alone.model.prefixes.token_bytes
    most = 2 * 16 * token

    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        with pytest.raises(RefusedError, match="kv_cache_memory_bytes is the server's to set") as refused:
            await writer.run("b c", {**options, "kv_cache_memory_bytes": 1 << 40}, Call())
        assert refused.value.status == 400
        for more in ({**options, "max_new_tokens": 60}, {**options, "num_beams": 8}):
            with pytest.raises(OutOfMemoryError, match=f"more than kv_cache_memory_bytes={most:,}"):
                await writer.run("b c", more, Call())
        found = await asyncio.gather(*(writer.run("b c", options, Call()) for _ in range(12)))
        return found, max(counts.rows)

    found, rows = write(bundles("gpt2"), ask, kv_cache_memory_bytes=most)
    assert found == [expected] * 12
    assert rows < 8


def test_beams_wait_in_the_same_queue_and_are_bounded_alike(bundles: Any) -> None:
    beams = {"max_new_tokens": 20, "num_beams": 2, "do_sample": False}

    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        with pytest.raises(RefusedError, match="new ones included, are more than the 100") as refused:
            await writer.run("a", {**beams, "max_new_tokens": 60}, Call())
        assert refused.value.status == 413
        sent = [asyncio.create_task(writer.run("a", beams, Call())) for _ in range(12)]
        done = await asyncio.gather(*sent, return_exceptions=True)
        assert counts.waits == 0
        statuses = [each.status if isinstance(each, RefusedError) else 200 for each in done]
        gone = asyncio.create_task(writer.run("a", beams, Call()))
        other = asyncio.create_task(writer.run("a", beams, Call()))
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.gather(gone, other, return_exceptions=True)
        assert counts.waits == 0, "who goes away waits no more"
        return statuses

    statuses = write(bundles("gpt2"), ask, queue=100, tokens=100)
    assert statuses[0] == 200
    assert set(statuses) == {200, 429}


def test_closing_writes_beams_that_wait(bundles: Any) -> None:
    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        options = {"max_new_tokens": 20, "num_beams": 2, "do_sample": False}
        sent = [asyncio.create_task(writer.run("a", options, Call())) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, writer.close)
        with pytest.raises(ClosedError):
            await writer.run("a", options, Call())
        return await asyncio.gather(*sent)

    assert len(write(bundles("gpt2"), ask)) == 4


def test_closing_writes_what_waits_and_takes_no_more(bundles: Any) -> None:
    async def ask(writer: TextWriter, task: Any, counts: Counts) -> Any:
        sent = [asyncio.create_task(writer.run("a", {"max_new_tokens": 20}, Call())) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, writer.close)
        with pytest.raises(ClosedError):
            await writer.run("a", {"max_new_tokens": 2}, Call())
        return await asyncio.gather(*sent)

    assert len(write(bundles("gpt2"), ask)) == 5
