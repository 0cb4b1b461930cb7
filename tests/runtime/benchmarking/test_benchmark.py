"""Structure, counts and units of a measurement; what the figures are is the machine's business."""

import json
import sys
from pathlib import Path

import pytest

from edgepipe import Tokenizer
from edgepipe.benchmarking.benchmark import TEXT, BenchReport, bench
from edgepipe.errors import InputError, VariantError
from tests.runtime.small_bundle import write_bundle

LIMIT = 32
WRITER = Path(__file__).parents[2] / "data" / "foreign_writers" / "decoder"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bench") / "words", max_length=LIMIT)


Step = tuple[str, int, int]


@pytest.fixture(scope="module")
def measured(bundle: Path) -> tuple[BenchReport, list[Step]]:
    steps: list[Step] = []

    def remember(step: str, done: int, total: int) -> None:
        steps.append((step, done, total))

    report = bench(bundle, batch_sizes=(1, 3), lengths=(4, 16), rounds=2, seconds=0.01, progress=remember)
    return report, steps


def test_every_shape_is_measured_in_order(measured: tuple[BenchReport, list[Step]]) -> None:
    report, _ = measured
    assert [(shape.batch, shape.length) for shape in report.shapes] == [(1, 4), (1, 16), (3, 4), (3, 16)]
    assert all(shape.latency.runs >= 2 * report.rounds for shape in report.shapes)


def test_percentiles_are_ordered_and_throughput_follows_from_the_median(
    measured: tuple[BenchReport, list[Step]],
) -> None:
    report, _ = measured
    for latency in [report.request, *(shape.latency for shape in report.shapes)]:
        assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms
        assert latency.spread >= 0
    for shape in report.shapes:
        assert shape.texts_per_s == pytest.approx(shape.batch / (shape.latency.p50_ms / 1e3))
        assert shape.tokens_per_s == pytest.approx(shape.texts_per_s * shape.length)


def test_the_cold_start_is_that_of_a_process(measured: tuple[BenchReport, list[Step]]) -> None:
    start = measured[0].cold_start
    assert 0 < start.min_ms <= start.median_ms <= start.max_ms
    if sys.platform == "linux":
        assert start.peak_bytes is not None
        assert start.anonymous_bytes is not None
        assert 1e6 < start.anonymous_bytes < start.peak_bytes < 2e9


def test_the_report_says_what_was_measured(measured: tuple[BenchReport, list[Step]], bundle: Path) -> None:
    report, steps = measured
    assert (report.bundle, report.task, report.dtype) == (bundle.name, "text-classification", "fp32")
    assert report.bytes == sum(file.stat().st_size for file in (bundle / "onnx").iterdir())
    assert report.providers == ("CPUExecutionProvider",)
    assert report.threads >= 1
    assert report.request_tokens == min(len(Tokenizer.from_pretrained(bundle)(TEXT)["input_ids"]), LIMIT)
    assert {"python", "edgepipe", "tokenizers", "numpy"} <= set(report.versions)
    assert steps[-1][0] == "cold start 2 of 2"


def test_steps_are_numbered_and_all_of_them_are_known_before(measured: tuple[BenchReport, list[Step]]) -> None:
    steps = measured[1]
    assert [(done, total) for _, done, total in steps] == [(number, len(steps)) for number in range(len(steps))]


def test_steps_of_a_model_that_generates_are_known_once_it_is_loaded() -> None:
    steps: list[Step] = []

    def remember(step: str, done: int, total: int) -> None:
        steps.append((step, done, total))

    bench(WRITER, batch_sizes=(1,), lengths=(4,), rounds=1, seconds=0.01, progress=remember)
    assert [(done, total) for _, done, total in steps[1:]] == [(number, len(steps)) for number in range(1, len(steps))]
    assert "generation, round 1 of 1" in [step for step, _, _ in steps]


def test_json_has_every_field_and_the_table_a_line_for_each_shape(measured: tuple[BenchReport, list[Step]]) -> None:
    report, _ = measured
    record = json.loads(report.to_json())
    assert list(record) == list(BenchReport.__dataclass_fields__)
    assert record["shapes"][1]["latency"]["p50_ms"] == report.shapes[1].latency.p50_ms
    lines = report.table().splitlines()
    first = lines.index("the graph alone") + 3
    assert [line.split()[:2] for line in lines[first : first + 4]] == [["1", "4"], ["1", "16"], ["3", "4"], ["3", "16"]]
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lengths": (16, LIMIT + 1)}, f"{LIMIT + 1} tokens, the model takes at most {LIMIT}"),
        ({"batch_sizes": ()}, "batch_sizes must be whole numbers"),
        ({"batch_sizes": (0,)}, "batch_sizes must be whole numbers"),
        ({"lengths": "16"}, "lengths must be whole numbers"),
        ({"rounds": 0}, "rounds must be"),
        ({"seconds": 0}, "seconds must be"),
        ({"num_threads": 0}, "num_threads must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(bundle: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        bench(bundle, **{"lengths": (16,)} | options)  # type: ignore[arg-type]


def test_lengths_that_nobody_asked_for_fit_the_model(bundle: Path) -> None:
    report = bench(bundle, batch_sizes=(1,), rounds=1, seconds=0.01)
    assert [shape.length for shape in report.shapes] == [16, LIMIT]


def test_an_unknown_variant_is_refused(bundle: Path) -> None:
    with pytest.raises(VariantError, match="int8"):
        bench(bundle, dtype="int8", lengths=(16,))
