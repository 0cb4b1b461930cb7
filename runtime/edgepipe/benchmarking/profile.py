"""Where a millisecond goes: tokenizing, padding, each kind of operator in the graph, and the rest, of one batch."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, count
from typing import Any

import numpy as np

from edgepipe.backend.machine import machine_name, runtime_versions
from edgepipe.backend.session import GraphTimes, SessionConfig, describe_placement
from edgepipe.backend.threads import available_threads
from edgepipe.benchmarking.benchmark import check_shapes
from edgepipe.benchmarking.peak import measure_peak
from edgepipe.benchmarking.timing import take_turns, time_runs
from edgepipe.bundle import strict_json
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.tasks import generates
from edgepipe.errors import InputError
from edgepipe.factory import pipeline
from edgepipe.models.variants import open_bundle, profile_variant, stored_variant
from edgepipe.text_table import list_facts, table

_ROUNDS = 7
_RUNS = 3  # a round, and as many that are not counted
# Operators that take less than this part of a run stand in one line.
_SMALL = 0.005
# Tasks whose input is one text.
_TASKS = ("text-classification", "token-classification", "feature-extraction")
_WORDS = "This film is a quiet triumph, and I loved it. "


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """One batch through a pipeline. Times are medians, in seconds.

    Attributes:
        rows: Texts.
        tokens: Of each.
        whole: From texts to results.
        tokenize: Texts to ids.
        pad: Ids to arrays.
        graph: The graph, as the pipeline runs it.
        operators: The graph again, with its engine's profiler, which makes it slower.
        operations: Additions and multiplications of the graph's products.
    """

    rows: int
    tokens: int
    whole: float
    tokenize: float
    pad: float
    graph: float
    operators: GraphTimes
    operations: int

    @property
    def rest(self) -> float:
        """What is neither tokenizing, padding nor the graph: results made of logits, and calls. 0 at least."""
        return max(0.0, self.whole - self.tokenize - self.pad - self.graph)


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """What :func:`profile` found.

    Attributes:
        bundle: Name of the bundle's directory.
        dtype: The variant.
        engine: What runs it.
        placement: How many operators of each kind each provider runs; empty where edgepipe knows that without asking.
        machine: The machine in words.
        versions: Versions of the packages.
        peak: Additions and multiplications a second of a large product in the variant's precision, in the same run.
        peak_of: That precision.
        batches: Each batch that was asked for.
    """

    bundle: str
    dtype: str
    engine: str
    machine: str
    versions: dict[str, str]
    peak: float
    peak_of: str
    batches: tuple[BatchProfile, ...]
    placement: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as JSON text."""
        return strict_json.dumps(asdict(self))

    def table(self, *, width: int | None = None) -> str:
        """The report as text: a table for each batch.

        Args:
            width: How many columns of a terminal there are; by default lines are as long as they are.
        """
        facts = [
            ("bundle", f"{self.bundle}, {self.dtype}, {self.engine}"),
            ("machine", self.machine),
            ("versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())),
            ("peak", f"{self.peak / 1e9:,.0f} GOP/s in {self.peak_of}, one large product in this run"),
        ]
        if self.placement:
            facts.insert(1, ("nodes", describe_placement(self.placement)))
        blocks = [list_facts(facts, width=width)]
        for batch in self.batches:
            heading = f"{batch.rows} x {batch.tokens} tokens, {batch.whole * 1e3:.2f} ms from texts to results"
            rows = [list(row) for row in self._rows(batch)]
            headers = ["step", "ms", "share", "count", "GOP/s", "of peak"]
            blocks.append(f"{heading}\n{table(headers, rows, 'lrrrrr', width=width)}")
        return "\n\n".join(blocks)

    def _rows(self, batch: BatchProfile) -> list[tuple[str, ...]]:
        def row(name: str, seconds: float, count: int = 0, operations: int = 0) -> tuple[str, ...]:
            speed = operations / seconds if operations and seconds else 0.0
            rates = (f"{speed / 1e9:,.0f}", f"{speed / self.peak:.0%}") if speed else ("", "")
            return (name, f"{seconds * 1e3:.3f}", f"{seconds / batch.whole:.0%}", str(count or ""), *rates)

        # The profiler slows the graph: each operator gets its part of the time that the graph takes without it.
        scale = batch.graph / batch.operators.seconds
        times = [(each, each.seconds * scale) for each in batch.operators.operators]
        shown = [(each, took) for each, took in times if took >= _SMALL * batch.graph or each.operations]
        small = [(each, took) for each, took in times if (each, took) not in shown]
        found = [
            row("tokenize", batch.tokenize),
            row("pad", batch.pad),
            row("graph", batch.graph, operations=batch.operations),
            *(row(f"- {each.kind}", took, each.count, each.operations) for each, took in shown),
        ]
        if small:
            found.append(row("- others", sum(took for _, took in small), sum(each.count for each, _ in small)))
        found.append(row("- between them", max(0.0, batch.graph - sum(took for _, took in times))))
        return [*found, row("the rest", batch.rest)]


def profile(
    bundle_path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    lengths: Sequence[int] | None = None,
    num_threads: int | None = None,
    device: str | int | None = None,
    low_memory: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> ProfileReport:
    """Measure where the time of a pipeline of an encoder goes.

    Args:
        bundle_path: Directory or Hub id of the bundle.
        dtype: The variant; by default the manifest's.
        batch_sizes: Texts of a batch.
        lengths: Tokens of each text; by default 16 and 128, as far as the model takes them.
        num_threads: Threads inside one operator; by default what the process may use.
        device: As in :func:`~edgepipe.factory.pipeline`.
        low_memory: Keep the weights mapped.
        progress: Called before each step: with what it is, how many are done, and how many there are.

    Raises:
        InputError: the bundle's task writes text, or its input is more than one text.
        BundleError: the bundle is damaged or has no such variant.
        DeviceError: the device cannot be used here.
    """
    config = SessionConfig(device, num_threads, low_memory)
    bundle = open_bundle(bundle_path, dtype, config)
    if generates(bundle.task) or bundle.task not in _TASKS:
        raise InputError(
            f"--profile is for tasks whose input is one text ({', '.join(_TASKS)}), not for {bundle.task}; "
            "leave it out for latencies"
        )
    sizes, tokens_of_each = check_shapes(bundle, batch_sizes, lengths)
    shapes = [(rows, tokens) for rows in sizes for tokens in tokens_of_each]
    say = _number_steps(progress, 2 + len(shapes))
    say(f"loading {bundle.path}")
    task: Any = pipeline(
        None, bundle, dtype=dtype, device=device, num_threads=num_threads, low_memory=low_memory, batch_size=1
    )
    dtype = str(task.model.dtype)
    batches = []
    for rows, tokens in shapes:
        say(f"{rows} x {tokens} tokens")
        batches.append(_profile_batch(task, bundle, dtype, config, (rows, tokens)))
    say("the processor's peak")
    peak_of, peak = measure_peak(dtype, config)
    threads = num_threads or available_threads()
    return ProfileReport(
        bundle=bundle.path.resolve().name,
        dtype=dtype,
        engine=", ".join(name.removesuffix("ExecutionProvider") for name in task.model.session.providers),
        machine=machine_name(threads),
        versions=dict(runtime_versions()),
        peak=peak,
        peak_of=peak_of,
        batches=tuple(batches),
        placement=task.model.session.placement,
    )


def _profile_batch(
    task: Any, bundle: Bundle, dtype: str, config: SessionConfig, shape: tuple[int, int]
) -> BatchProfile:
    """One batch of texts that are as long as the batch, cut where they are longer."""
    rows, tokens = shape
    tokenizer, session = task.tokenizer, task.model.session
    texts = [_WORDS * (1 + tokens // len(tokenizer(_WORDS)["input_ids"]))] * rows
    cut: dict[str, Any] = {"truncation": True, "max_length": tokens}
    encoded = tokenizer(texts, **cut)
    pieces = task.split_rows(encoded)
    padded = tokenizer.pad(pieces, return_tensors="np")
    feeds = {
        name: np.asarray(padded[name] if name in padded else np.zeros_like(padded["input_ids"]), dtype)
        for name, dtype in session.inputs.items()
    }
    calls: list[Callable[[], object]] = [
        lambda: task(texts, batch_size=rows, **cut),
        lambda: tokenizer(texts, **cut),
        lambda: tokenizer.pad(pieces, return_tensors="np"),
        lambda: session.run(feeds),
    ]
    rounds = take_turns([partial(time_runs, call, runs=_RUNS, wake=_RUNS) for call in calls], _ROUNDS)
    whole, tokenize, pad, graph = (statistics.median(chain(*own)) for own in rounds)
    operators = profile_variant(bundle, dtype, config, feeds, _RUNS * _ROUNDS)
    counted = operators
    if not any(each.operations for each in operators.operators):  # an engine that does not tell shapes
        counted = profile_variant(bundle, stored_variant(dtype, config), SessionConfig("cpu"), feeds, 1)
    operations = sum(each.operations for each in counted.operators)
    return BatchProfile(rows, tokens, whole, tokenize, pad, graph, operators, operations)


def _number_steps(progress: Callable[[str, int, int], None] | None, total: int) -> Callable[[str], None]:
    numbers = count()
    return lambda step: progress(step, next(numbers), total) if progress is not None else None
