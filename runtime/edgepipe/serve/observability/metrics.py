"""What a server counts, in Prometheus' form."""

from __future__ import annotations

import logging
import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

# The folder in which several processes keep what they count, by the name that prometheus_client reads.
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64)

_log = logging.getLogger("edgepipe.serve")


class ModelObserver:
    """Counts what the scheduler of one model does."""

    def __init__(self, metrics: ServerMetrics, model: str) -> None:
        self._waiting = metrics.queue.labels(model)
        self._rows = metrics.rows.labels(model)
        self._tokens = metrics.tokens.labels(model)
        self._seconds = metrics.batch_seconds.labels(model)
        self._written = metrics.written.labels(model)
        self._prompt = metrics.prompt.labels(model)
        self._cached = metrics.cached.labels(model)

    def waiting(self, tokens: int) -> None:
        """So many tokens wait now."""
        self._waiting.set(tokens)

    def ran(self, rows: int, tokens: int, seconds: float) -> None:
        """A batch of so many rows and tokens, padding not counted, went through in so long."""
        self._rows.observe(rows)
        self._tokens.inc(tokens)
        self._seconds.observe(seconds)

    def wrote(self, tokens: int) -> None:
        """So many new tokens were written."""
        self._written.inc(tokens)

    def read(self, tokens: int, cached: int) -> None:
        """A prompt of so many tokens was read, of which so many were there from earlier ones."""
        self._prompt.inc(tokens)
        self._cached.inc(cached)

    def tell(self, message: str) -> None:
        """Something is to be known of the model."""
        _log.warning("%s", message)


class ServerMetrics:
    """The counters of one process.

    Attributes:
        requests: Answers, by protocol, route and status.
        seconds: How long a request took until its answer was complete.
        running: Requests that have no answer yet.
        queue: Tokens that wait.
        rows: Rows of a batch, or of a step.
        tokens: Tokens that went through a graph.
        batch_seconds: How long a batch, or a step, took.
        written: Tokens that were written.
        prompt: Tokens of prompts behind which texts were written.
        cached: Those of them that earlier prompts had read.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = {"registry": self._registry}
        model = ["model"]
        self.requests = Counter("edgepipe_requests", "Answers.", ["protocol", "route", "status"], **own)
        self.seconds = Histogram(
            "edgepipe_request_seconds",
            "Time until an answer was complete.",
            ["protocol", "route"],
            buckets=_SECONDS,
            **own,
        )
        self.running = Gauge(
            "edgepipe_requests_running", "Requests without an answer yet.", multiprocess_mode="livesum", **own
        )
        self.queue = Gauge("edgepipe_queue_tokens", "Tokens that wait.", model, multiprocess_mode="livesum", **own)
        self.rows = Histogram("edgepipe_batch_rows", "Rows of a batch, or of a step.", model, buckets=_ROWS, **own)
        self.tokens = Counter("edgepipe_tokens", "Tokens that went through a graph.", model, **own)
        self.batch_seconds = Histogram(
            "edgepipe_batch_seconds", "Time of a batch, or of a step.", model, buckets=_SECONDS, **own
        )
        self.written = Counter("edgepipe_written_tokens", "Tokens that were written.", model, **own)
        self.prompt = Counter("edgepipe_prompt_tokens", "Tokens of prompts that were read.", model, **own)
        self.cached = Counter("edgepipe_cached_tokens", "Those of them that earlier prompts had read.", model, **own)

    def observe(self, model: str) -> ModelObserver:
        """What counts for one model."""
        return ModelObserver(self, model)

    def render(self) -> bytes:
        """The page that Prometheus reads; of several processes all together."""
        registry = self._registry
        if MULTIPROCESS_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        page: bytes = generate_latest(registry)
        return page
