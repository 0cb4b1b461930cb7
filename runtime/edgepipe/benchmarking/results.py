"""What a measurement found, as frozen dataclasses with units in their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np

from edgepipe.backend.session import describe_placement
from edgepipe.bundle import strict_json
from edgepipe.text_table import list_facts, table, wrap


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one call takes.

    Attributes:
        p50_ms: Median over all runs, in milliseconds.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile; with fewer than a hundred runs it is near the slowest.
        spread: Slowest minus fastest of the rounds' medians, over `p50_ms`: what to distrust.
        runs: How many calls were timed.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    spread: float
    runs: int

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]]) -> Self:
        """The latency from the seconds of each run of each round."""
        p50, p95, p99 = np.percentile(np.concatenate([np.asarray(times) for times in rounds]), [50, 95, 99])
        medians = [float(np.median(times)) for times in rounds]
        spread = (max(medians) - min(medians)) / float(p50)
        return cls(float(p50) * 1e3, float(p95) * 1e3, float(p99) * 1e3, spread, sum(map(len, rounds)))


@dataclass(frozen=True, slots=True)
class ShapeLatency:
    """The graph alone, at one shape of its inputs.

    Attributes:
        batch: Rows.
        length: Tokens of each row; no padding.
        latency: Of one run.
        texts_per_s: Rows a second at the median latency.
        tokens_per_s: Tokens a second at the median latency.
    """

    batch: int
    length: int
    latency: Latency
    texts_per_s: float
    tokens_per_s: float

    @classmethod
    def of(cls, batch: int, length: int, latency: Latency) -> Self:
        """The shape with its throughput."""
        texts_per_s = batch / latency.p50_ms * 1e3
        return cls(batch, length, latency, texts_per_s, texts_per_s * length)


@dataclass(frozen=True, slots=True)
class GenerationLatency:
    """The graphs alone, reading a prompt and writing behind it.

    Attributes:
        batch: Rows.
        length: Tokens of each row's prompt, or of what the encoder reads; no padding.
        prompt: From the prompt to the scores of the first new token.
        step: Of one new token a row.
        prompt_tokens_per_s: Prompt tokens a second at the median.
        new_tokens_per_s: New tokens a second at the median.
    """

    batch: int
    length: int
    prompt: Latency
    step: Latency
    prompt_tokens_per_s: float
    new_tokens_per_s: float

    @classmethod
    def of(cls, batch: int, length: int, prompt: Latency, step: Latency) -> Self:
        """The measurement with its throughput."""
        return cls(batch, length, prompt, step, batch * length / prompt.p50_ms * 1e3, batch / step.p50_ms * 1e3)


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From the start of a process to its first result, files in the page cache.

    Attributes:
        median_ms: Median over the rounds, in milliseconds.
        min_ms: Fastest.
        max_ms: Slowest.
        peak_bytes: Most memory resident at any time, median; None where the system does not tell.
        anonymous_bytes: Memory after the first result that no file backs (mapped weights are not in it), median;
            None where the system does not tell.
    """

    median_ms: float
    min_ms: float
    max_ms: float
    peak_bytes: int | None
    anonymous_bytes: int | None


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What :func:`~edgepipe.benchmarking.benchmark.bench` found.

    Attributes:
        bundle: Name of the bundle's directory.
        task: Its task.
        dtype: The variant.
        bytes: Size of the variant's files.
        providers: Execution providers in use, first choice first.
        placement: How many operators of each kind each runs; empty where edgepipe knows that without asking.
        low_memory: Whether weights were kept mapped.
        threads: Threads inside one operator.
        machine: The machine in words.
        versions: Versions of the packages.
        rounds: How many rounds.
        shapes: The graph alone, by shape; none where text is generated.
        generation: The graphs alone where text is generated, by batch and length of the prompt.
        request_tokens: Tokens of the short text.
        request: One short text through the pipeline: text in, result out.
        new_tokens: How many tokens that result has, where text is generated.
        cold_start: A fresh process, until it has such a result.
    """

    bundle: str
    task: str | None
    dtype: str
    bytes: int
    providers: tuple[str, ...]
    low_memory: bool
    threads: int
    machine: str
    versions: Mapping[str, str]
    rounds: int
    shapes: tuple[ShapeLatency, ...]
    request_tokens: int
    request: Latency
    cold_start: ColdStart
    generation: tuple[GenerationLatency, ...] = ()
    new_tokens: int = 0
    placement: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as JSON text, keys in the order of the fields."""
        return strict_json.dumps(asdict(self))

    def table(self, *, width: int | None = None) -> str:
        """The report as text: what was measured, and a table each for the graph and for the process.

        Args:
            width: How many columns of a terminal there are; by default lines are as long as they are.
        """
        mode = ", low memory" if self.low_memory else ""
        heading = [
            f"{self.bundle}: {self.task}, {self.dtype}, {_megabytes(self.bytes)}{mode}",
            f"{self.machine}; {', '.join(provider.removesuffix('ExecutionProvider') for provider in self.providers)}",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        if self.placement:
            heading.append(describe_placement(self.placement))
        start = self.cold_start
        written = f", {self.new_tokens} new" if self.new_tokens else ""
        process = [
            (f"one text of {self.request_tokens} tokens{written}, median", f"{self.request.p50_ms:.2f} ms"),
            ("  95th, 99th percentile", f"{self.request.p95_ms:.2f} ms, {self.request.p99_ms:.2f} ms"),
            (f"process start to first result, median of {self.rounds}", f"{start.median_ms:.0f} ms"),
            ("  fastest, slowest", f"{start.min_ms:.0f} ms, {start.max_ms:.0f} ms"),
            ("peak memory of that process", _megabytes(start.peak_bytes)),
            ("  of it private after the result", _megabytes(start.anonymous_bytes)),
        ]
        lines = [*(line for text in heading for line in wrap(text, width)), "", "the graph alone"]
        return "\n".join(
            [*lines, self._graph_table(width), "", "the pipeline", list_facts(process, width=width)],
        )

    def _graph_table(self, width: int | None) -> str:
        if self.generation:
            headers = ["batch", "prompt", "prompt p50", "tokens/s", "new token p50", "p95", "spread", "tokens/s"]
            return table(headers, [_generation_cells(each) for each in self.generation], width=width)
        headers = ["batch", "tokens", "p50", "p95", "p99", "spread", "runs", "texts/s", "tokens/s"]
        rows = [[str(shape.batch), str(shape.length), *_cells(shape.latency), *_rates(shape)] for shape in self.shapes]
        return table(headers, rows, width=width)


def _cells(latency: Latency) -> list[str]:
    times = [f"{value:.2f} ms" for value in (latency.p50_ms, latency.p95_ms, latency.p99_ms)]
    return [*times, f"{latency.spread:.0%}", str(latency.runs)]


def _generation_cells(each: GenerationLatency) -> list[str]:
    prompt = [f"{each.prompt.p50_ms:.2f} ms", f"{each.prompt_tokens_per_s:,.0f}"]
    step = [f"{each.step.p50_ms:.2f} ms", f"{each.step.p95_ms:.2f} ms", f"{each.step.spread:.0%}"]
    return [str(each.batch), str(each.length), *prompt, *step, f"{each.new_tokens_per_s:,.0f}"]


def _rates(shape: ShapeLatency) -> list[str]:
    return [f"{shape.texts_per_s:,.0f}", f"{shape.tokens_per_s:,.0f}"]


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f} MB"
