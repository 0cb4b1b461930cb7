"""How fast a bundle is on this machine: latency, throughput, cold start and memory.

A run goes through these stages: check the shapes; load the bundle; warm up; time the graph at every shape and one text
through the pipeline (of a decoder: prompts, and the steps behind them), all of them in every round, so that a machine
that slows down for a while slows all of them; start fresh processes for the cold start. Nothing here is asserted:
figures hold for a machine and a moment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from edgepipe.arguments import check_whole, is_number, is_whole
from edgepipe.backend.machine import machine_name, runtime_versions
from edgepipe.backend.session import Provider, SessionConfig
from edgepipe.backend.threads import available_threads
from edgepipe.benchmarking.cold_start import measure_cold_start
from edgepipe.benchmarking.generation_speed import NEW_TOKENS, measure_generation, request_options
from edgepipe.benchmarking.results import BenchReport, ColdStart, GenerationLatency, Latency, ShapeLatency
from edgepipe.benchmarking.timing import take_turns, time_runs
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.tasks import generates
from edgepipe.errors import InputError
from edgepipe.factory import pipeline
from edgepipe.models.encoder import Model
from edgepipe.models.variants import choose_variant, open_bundle, stored_variant
from edgepipe.pipelines.generative import GenerativeTask

__all__ = ["BenchReport", "ColdStart", "GenerationLatency", "Latency", "ShapeLatency", "bench"]

# Tokens of the texts that are measured where no lengths are given.
LENGTHS = (16, 128)
_WARM_UP_RUNS = 3
_LEAST_RUNS = 2  # a round

TEXT = "This film is a quiet triumph, and I loved it."


def bench(
    bundle_path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    lengths: Sequence[int] | None = None,
    rounds: int = 5,
    seconds: float = 2.0,
    num_threads: int | None = None,
    device: str | int | None = None,
    low_memory: bool = False,
    providers: Sequence[Provider] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> BenchReport:
    """Measure a bundle.

    Args:
        bundle_path: Directory or Hub id of the bundle.
        dtype: The variant; by default the manifest's, on CUDA fp16 or else fp32.
        batch_sizes: Texts that go through the graph at once.
        lengths: Tokens of each text, special tokens included; where text is generated, of each prompt. By default 16
            and 128, as far as the model takes them.
        rounds: How many times all shapes are gone through, and how many processes are started.
        seconds: Measuring time of each shape, over all rounds; a graph that is slow is still run twice a round.
        num_threads: Threads inside one operator; by default what the process may use.
        device: As in :func:`~edgepipe.factory.pipeline`, as for the two arguments that follow.
        low_memory: Keep the weights mapped.
        providers: onnxruntime's own list, in place of `device`.
        progress: Called before each step: with what it is, how many are done, and how many there are.

    Raises:
        InputError: a size, length or count that cannot be measured, e.g. a length over the model's limit.
        BundleError: the bundle is damaged or has no such variant.
        DeviceError: the device or a provider cannot be used here.
    """
    check_whole("rounds", rounds, 1)
    if not is_number(seconds) or seconds <= 0:
        raise InputError(f"seconds must be a number above 0, got {seconds!r}")
    config = SessionConfig(device, num_threads, low_memory, providers)
    bundle = open_bundle(bundle_path, dtype, config)
    limit = bundle.max_length
    sizes, tokens = check_shapes(bundle, batch_sizes, lengths)

    options: dict[str, Any] = {"device": device, "num_threads": num_threads, "low_memory": low_memory}
    options |= {"dtype": choose_variant(bundle, dtype, config), "providers": providers}
    say = _number_steps(progress, rounds, generates=generates(bundle.task))
    say(f"loading {bundle.path} ({options['dtype']})")
    task = pipeline(None, bundle, **options)
    model: Any = task.model  # a Model or a Decoder: each has its session
    ids: list[int] = task.tokenizer(TEXT)["input_ids"]
    shapes = [(batch, length) for batch in sizes for length in tokens]
    call: dict[str, Any] = {}
    generation: tuple[GenerationLatency, ...] = ()
    runners = []
    if isinstance(task, GenerativeTask):
        call = request_options(task)
        generation = measure_generation(task.decoder, ids, shapes, rounds=rounds, seconds=seconds, progress=say)
    else:
        runners = [graph_runner(model, ids, batch, length) for batch, length in shapes]
    latencies = measure_latencies([*runners, lambda: task(TEXT, **call)], rounds=rounds, seconds=seconds, progress=say)
    in_use = available_threads() if num_threads is None else num_threads
    cold_start = measure_cold_start(bundle.path, options, TEXT, rounds=rounds, progress=say, call=call)
    return BenchReport(
        bundle=bundle.path.resolve().name,
        task=bundle.task,
        dtype=options["dtype"],
        bytes=bundle.count_bytes(stored_variant(options["dtype"], config)),
        providers=tuple(model.session.providers),
        low_memory=low_memory,
        threads=in_use,
        machine=machine_name(in_use),
        versions=runtime_versions(),
        rounds=rounds,
        shapes=tuple(ShapeLatency.of(*shape, latency) for shape, latency in zip(shapes, latencies, strict=False)),
        request_tokens=len(ids) if limit is None else min(len(ids), limit),
        request=latencies[-1],
        cold_start=cold_start,
        generation=generation,
        new_tokens=NEW_TOKENS if generation else 0,
        placement=model.session.placement,
    )


def check_shapes(
    bundle: Bundle, batch_sizes: Sequence[int], lengths: Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """The batch sizes and lengths to measure, each once; of `LENGTHS` where none are given, what the model takes.

    Raises:
        InputError: one is no whole number of at least 1, or the model does not take it.
    """
    sizes = _check_whole_numbers("batch_sizes", batch_sizes)
    wanted = LENGTHS if lengths is None else _check_whole_numbers("lengths", lengths)
    longest = _longest(bundle)
    if lengths is not None and max(wanted) > longest:
        raise InputError(f"lengths has {max(wanted)} tokens, the model takes at most {longest}; give shorter ones")
    return sizes, list(dict.fromkeys(min(length, longest) for length in wanted))


def graph_runner(model: Model, ids: Sequence[int], batch: int, length: int) -> Callable[[], object]:
    """A call of the graph alone on `batch` rows of `length` tokens, without tokenizer, checks and padding.

    Raises:
        InputError: the graph does not take this shape.
        BundleError: the graph declares inputs that a tokenizer does not make.
    """
    row = np.resize(np.asarray(ids, dtype=np.int64), length)
    encoding = {"input_ids": np.tile(row, (batch, 1))}
    model(**encoding)  # the checks that the timed calls go without
    encoding |= {
        "attention_mask": np.ones((batch, length), np.int64),
        "token_type_ids": np.zeros((batch, length), np.int64),
    }
    feeds = {name: encoding[name].astype(dtype) for name, dtype in model.session.inputs.items()}
    run = model.session.run
    return lambda: run(feeds)


def measure_latencies(
    calls: Sequence[Callable[[], object]], *, rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Latency]:
    """The latency of each call, timed in turns; `seconds` is the measuring time of each over all rounds."""
    progress("warming up")
    for call in calls:
        for _ in range(_WARM_UP_RUNS):
            call()
    # The call before is of another shape: caches and the arena settle in one that is not timed.
    turns = [partial(time_runs, call, runs=_LEAST_RUNS, seconds=seconds / rounds, wake=1) for call in calls]
    times = take_turns(turns, rounds, lambda done: progress(f"latency, round {done + 1} of {rounds}"))
    return [Latency.of(own) for own in times]


def _number_steps(
    progress: Callable[[str, int, int], None] | None, rounds: int, *, generates: bool
) -> Callable[[str], None]:
    """What is called with the name of a step alone, and counts.

    The steps are loading, and a warm-up and all rounds of each that is measured: latency, cold start, and prompts where
    the model generates.
    """
    total = 1 + (1 + rounds) * (3 if generates else 2)
    numbers = count()
    return lambda step: progress(step, next(numbers), total) if progress is not None else None


def _longest(bundle: Bundle) -> int:
    """Most tokens of a text, or of a prompt that one more token can follow."""
    limit = sys.maxsize if bundle.max_length is None else bundle.max_length
    return limit - 1 if generates(bundle.task) and not bundle.config.get("is_encoder_decoder") else limit


def _check_whole_numbers(name: str, values: Sequence[int]) -> list[int]:
    numbers = list(values) if isinstance(values, Sequence) and not isinstance(values, (str, bytes)) else []
    if not numbers or not all(is_whole(value, 1) for value in numbers):
        raise InputError(f"{name} must be whole numbers of at least 1, got {values!r}")
    return list(dict.fromkeys(numbers))
