"""Where the time of a request goes: making tokens of the text, the graph, and the rest of the pipeline.

Requests go through the pipeline one at a time, as a user's do. The methods that make tokens and run graphs are timed
where the pipeline calls them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from edgepipe.benchmarking.generation_speed import NEW_TOKENS, request_options
from edgepipe.bundle.tasks import generates
from edgepipe.factory import pipeline
from edgepipe_export.calibration.split import spread_by_length
from edgepipe_export.calibration.texts import truncate_text
from edgepipe_export.evaluation.tasks import find_evaluation, pipeline_task
from edgepipe_export.selection.latency import median_latency

if TYPE_CHECKING:
    from edgepipe import Bundle, Tokenizer
    from edgepipe_export.calibration.dataset import Dataset

_ROUNDS = 5

# Seconds that all rounds together may take, and how many are done at least: one has no median.
_SECONDS, _FEWEST = 10.0, 2

# How many texts are continued: that takes longer than reading.
_PROMPTS = 4

# Seconds before each turn, see `time_runs` of the benchmarks.
_SETTLE = 0.05


@dataclass(frozen=True, slots=True)
class RequestTime:
    """The time of one request, in milliseconds; medians over the rounds.

    Attributes:
        total_ms: Text in, result out.
        spread: The middle half of the rounds, from end to end, as a share of the median.
        tokenizer_ms: Of it, from text to token ids.
        graph_ms: Of it, inside the graphs' sessions.
    """

    total_ms: float
    spread: float
    tokenizer_ms: float
    graph_ms: float

    @property
    def spread_ms(self) -> float:
        """How far the middle half of the rounds spans."""
        return self.total_ms * self.spread

    @property
    def rest_ms(self) -> float:
        """What is left: checks, arrays, the search for tokens, and the result."""
        return max(0.0, self.total_ms - self.tokenizer_ms - self.graph_ms)


class RequestTimer:
    """A pipeline whose parts are timed.

    Attributes:
        seconds: Seconds of each part in the last run.
    """

    def __init__(self, task: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        """Put stopwatches around the methods of a loaded pipeline; it is of no other use from then on.

        Args:
            task: The pipeline: an :class:`edgepipe.pipelines.base.Task`.
            clock: Seconds that go on.
        """
        self.seconds = {"tokenizer": 0.0, "graph": 0.0}
        self._task = task
        self._clock = clock
        task.encode = self._timed(task.encode, "tokenizer")
        for session in (getattr(task.model, name, None) for name in ("session", "encoder")):
            if session is not None:
                session.run = self._timed(session.run, "graph")
                session.bind = partial(self._bind, session.bind)

    def run(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> tuple[float, float, float]:
        """Run each input alone; the mean seconds in total, of the tokenizer and of the graphs."""
        for part in self.seconds:
            self.seconds[part] = 0.0
        start = self._clock()
        for item in inputs:
            self._task(item, **options)
        total = self._clock() - start
        return total / len(inputs), self.seconds["tokenizer"] / len(inputs), self.seconds["graph"] / len(inputs)

    def _timed(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = self._clock()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds[part] += self._clock() - start

        return call

    def _bind(self, bind: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        binding = bind(*arguments, **options)
        binding.run = self._timed(binding.run, "graph")
        return binding


def measure_requests(
    bundle: Bundle, task: str, dtypes: Sequence[str], data: Dataset, progress: Callable[[int, int], None]
) -> dict[str, RequestTime]:
    """The time of requests as the data have them: some whose lengths are spread as theirs are.

    Args:
        bundle: The bundle.
        task: Name of the task.
        dtypes: The variants.
        data: What variants are measured on.
        progress: Told how many rounds of how many are done.

    Returns:
        Nothing where the model is too short to continue any of the texts.
    """
    name = task if generates(task) else pipeline_task(task)
    # The bundle may not be finished: it gets its probes last.
    tasks = {dtype: pipeline(name, bundle, dtype=dtype, verify="never") for dtype in dtypes}
    for task_of_dtype in tasks.values():
        task_of_dtype.warns_of_cuts = False  # a text counts as long as it is read
    if not generates(task):
        inputs: Sequence[Any] = spread_by_length(data.inputs, lambda item: len(str(item)))
        options = {**find_evaluation(task).options[-1], **data.options}
    else:
        inputs = _prompts(bundle, tasks[dtypes[0]].tokenizer, data.inputs)
        options = request_options(tasks[dtypes[0]])
    return time_requests(tasks, inputs, options, progress=progress) if inputs else {}


def _prompts(bundle: Bundle, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """A few of the texts, cut so that new tokens have room behind them."""
    limit = bundle.max_length
    if bundle.config.get("is_encoder_decoder"):
        if bundle.max_target_length is not None and bundle.max_target_length <= NEW_TOKENS:
            return []
    elif limit is not None:
        limit -= NEW_TOKENS
    chosen = spread_by_length(texts, len, _PROMPTS)
    if limit is not None:
        chosen = [truncate_text(text, tokenizer, limit) for text in chosen] if limit > 0 else []
    return [text for text in chosen if text]


def time_requests(
    tasks: Mapping[str, Any],
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    *,
    rounds: int = _ROUNDS,
    seconds: float = _SECONDS,
    settle: float = _SETTLE,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, RequestTime]:
    """Run the inputs through each pipeline in turn, round after round, after one that is not measured.

    Args:
        tasks: The pipelines by dtype; see :class:`RequestTimer`.
        inputs: At least one.
        options: The options of a call.
        rounds: How many rounds at most.
        seconds: How long they may take; two are always done.
        settle: Seconds to wait before each turn where there are several: threads of one session go on for a while.
        clock: Seconds that go on.
        progress: Told how many rounds of how many are done.
    """
    timers = {dtype: RequestTimer(task, clock) for dtype, task in tasks.items()}
    for timer in timers.values():
        timer.run(inputs[:1], options)  # memory is allocated, and threads wake
    found: dict[str, list[tuple[float, float, float]]] = {dtype: [] for dtype in timers}
    end = clock() + seconds
    for done in range(rounds):
        if done >= _FEWEST and clock() >= end:
            break
        for dtype, timer in timers.items():
            if len(timers) > 1:
                time.sleep(settle)
            found[dtype].append(timer.run(inputs, options))
        progress(done + 1, rounds)
    return {dtype: _summarize(own) for dtype, own in found.items()}


def _summarize(rounds: Sequence[tuple[float, float, float]]) -> RequestTime:
    total, tokenizer, graph = ([1000 * value for value in values] for values in zip(*rounds, strict=True))
    latency = median_latency(total)
    return RequestTime(
        latency.median_ms, latency.spread, median_latency(tokenizer).median_ms, median_latency(graph).median_ms
    )
