"""Measurements of an export's variants: by comparisons that say what they are told, and of real graphs."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.errors import ParityError
from edgepipe_export import export
from edgepipe_export.calibration.dataset import BUILT_IN, Dataset
from edgepipe_export.calibration.split import Split, measure_all
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.load import LoadedCheckpoint, load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.checks import PYTORCH, Check
from edgepipe_export.evaluation.comparison import make_comparison
from edgepipe_export.evaluation.tolerances import Tolerance
from edgepipe_export.output.cache import Cache
from edgepipe_export.output.progress import Steps
from edgepipe_export.output.workspace import Workspace
from edgepipe_export.quantization.quantize import default_options
from edgepipe_export.quantization.target import find_target
from edgepipe_export.selection.evaluator import Evaluator
from edgepipe_export.selection.latency import Latency
from tests.conftest import Exported
from tests.hostile import inject_outliers
from tests.tiny import build

SENTENCES = measure_all(Dataset(sentences(), None, BUILT_IN))
NAIVE = "int8-static"
TEXTS = ("one", "two", "three")


class Told:
    """A comparison that gives what it is told, and notes what it is asked."""

    texts = TEXTS[:2]

    def __init__(self, steps: Steps, failing: tuple[str, ...] = ()) -> None:
        self.failing = failing
        self.asked: list[tuple[str, str]] = []
        self._steps = steps

    def check(
        self,
        dtype: str,
        reference: str,
        tolerance: Tolerance,
        bundle: Bundle | None = None,
        deadline: float | None = None,
    ) -> list[Check]:
        self.asked.append((dtype, reference))
        self._steps.tick(self.count_steps(dtype))
        passed = dtype not in self.failing
        return [Check("tensors", dtype, reference, 3, {"logits": 0.5}, 0.9, "a bound", passed, figures={"kl": 0.25})]

    measure = check

    def count_steps(self, dtype: str) -> int:
        return 3 if dtype == "fp32" else 2

    def timed_run(self, dtype: str, bundle: Bundle) -> Callable[[], int]:
        return lambda: 1

    def distance(self, dtype: str, bundle: Bundle) -> float:
        self.asked.append((dtype, "distance"))
        return 0.125

    def calibration_distance(self, dtype: str, bundle: Bundle) -> float:
        return 0.125


@pytest.fixture
def workspace(tiny_export: Callable[..., Exported], tmp_path: Path) -> Workspace:
    """A tiny model in fp32 and w8, with a cache."""
    bundle = tiny_export("bert").bundle
    folder = shutil.copytree(bundle.path, tmp_path / "bundle")
    assert bundle.manifest is not None
    cache = Cache(tmp_path / "cache", "basis", min_seconds=0)
    made = Workspace(folder, bundle.manifest, ("model",), find_target("vnni"), cache)
    made.make("w8")
    return made


def told(
    workspace: Workspace,
    *,
    failing: tuple[str, ...] = (),
    reference: str | None = "weights",
    max_drop: float | None = None,
    data: Split | None = None,
) -> tuple[Evaluator, Told]:
    steps = Steps()
    comparison = Told(steps, failing)
    data = data or measure_all(Dataset(TEXTS, None, BUILT_IN))
    tolerance = Tolerance.from_max_drop(max_drop)
    return Evaluator(workspace, comparison, data, tolerance, reference=reference, steps=steps), comparison


def test_fp32_is_compared_with_pytorch_and_the_others_with_fp32(workspace: Workspace) -> None:
    evaluator, comparison = told(workspace)
    progress: list[tuple[int, int]] = []
    evaluator.measure(lambda done, total: progress.append((done, total)))
    assert comparison.asked == [("fp32", PYTORCH), ("w8", "fp32")]
    assert list(evaluator.measured) == ["fp32", "w8"]
    assert progress == [(3, 5), (5, 5)]


def test_what_was_measured_is_not_measured_again(workspace: Workspace) -> None:
    told(workspace)[0].measure()
    evaluator, comparison = told(workspace)
    progress: list[tuple[int, int]] = []
    evaluator.measure(lambda done, total: progress.append((done, total)))
    assert comparison.asked == []
    assert progress == [(3, 5), (5, 5)], "all at once"
    assert evaluator.measured == {dtype: evaluator.check(dtype) for dtype in ("fp32", "w8")}


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"reference": "other weights"}, ["fp32"]),
        ({"reference": None}, ["fp32"]),
        ({"max_drop": 3.0}, ["w8"]),
        ({"data": measure_all(Dataset(TEXTS[:1], None, BUILT_IN))}, ["w8"]),
    ],
    ids=["reference", "no reference", "tolerance", "data"],
)
def test_what_decides_a_measurement_makes_another_of_it(
    workspace: Workspace, change: dict[str, Any], again: list[str]
) -> None:
    told(workspace)[0].measure()
    evaluator, comparison = told(workspace, **change)
    evaluator.measure()
    assert [dtype for dtype, _ in comparison.asked] == again


def test_a_reference_that_is_not_known_is_never_cached(workspace: Workspace) -> None:
    for _ in range(2):
        evaluator, comparison = told(workspace, reference=None)
        evaluator.check("fp32")
        assert comparison.asked == [("fp32", PYTORCH)]


def test_what_misses_its_bound_can_be_repaired_where_fp32_holds(workspace: Workspace) -> None:
    evaluator, _ = told(workspace, failing=("w8",))
    evaluator.measure()
    assert evaluator.repairable == ("w8",)
    for failing in ((), ("fp32",), ("fp32", "w8")):
        evaluator, _ = told(workspace, failing=failing, reference=None, max_drop=float(len(failing)))
        evaluator.measure()
        assert evaluator.repairable == ()


def test_a_bundle_that_misses_is_refused_unless_it_is_forced(workspace: Workspace) -> None:
    evaluator, _ = told(workspace, failing=("w8",))
    evaluator.measure()
    before = workspace.manifest
    with pytest.raises(
        ParityError, match=r"nothing was written: w8 against fp32, tensors: .*\(bound: a bound\); force="
    ):
        evaluator.record(force=False)
    assert workspace.manifest == before
    assert not (workspace.folder / REPORT_NAME).exists()
    evaluator.record(force=True)
    parity = workspace.manifest.variants["w8"].parity
    assert parity is not None
    assert not parity.passed
    assert json.loads((workspace.folder / REPORT_NAME).read_text())["variants"]["w8"]["checks"][0]["passed"] is False


def test_the_manifest_says_on_what_a_variant_was_measured(workspace: Workspace) -> None:
    data = Dataset(TEXTS, None, BUILT_IN)
    evaluator, _ = told(workspace, data=Split(data, data.select((0, 1)), data, 2, 30))
    evaluator.measure()
    evaluator.record(force=False)
    exact, quantized = (workspace.manifest.variants[dtype].parity for dtype in ("fp32", "w8"))
    assert exact is not None
    assert quantized is not None
    assert (exact.reference, exact.texts, exact.seen) == (PYTORCH, 2, 0)
    assert (quantized.reference, quantized.texts, quantized.seen) == ("fp32", 3, 2)
    assert quantized.figures == {"kl": 0.25}


def test_of_all_that_passed_the_best_is_chosen(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepipe_export.selection.latency._SETTLE", 0.0)  # no threads run that could disturb it
    workspace.make("q4")
    evaluator, _ = told(workspace, failing=("q4",))
    evaluator.measure()
    assert evaluator.choose("quality") == "w8"
    assert list(evaluator.measured) == ["fp32", "w8"]
    assert workspace.bundle.dtypes == ("fp32", "w8"), "what nobody asked for and did not pass is gone"
    rows = {row["dtype"]: row for row in workspace.manifest.candidates}
    assert {dtype: (row["distance"], row["passed"], row["chosen"]) for dtype, row in rows.items()} == {
        "fp32": (0.0, True, False),
        "w8": (0.125, True, True),
        "q4": (0.125, False, False),
    }
    assert all(row["latency_ms"] >= 0 and row["bytes"] > 0 for row in rows.values())
    evaluator.record(force=False)
    noise = json.loads((workspace.folder / REPORT_NAME).read_text())["noise"]
    assert noise["undecided"] == list(evaluator.undecided)


def test_the_best_is_measured_until_it_is_decided(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whose time was over: w8 misses on more inputs, so q4 is taken once it held on as many."""
    monkeypatch.setattr("edgepipe_export.selection.latency._SETTLE", 0.0)
    workspace.make("q4")
    evaluator, comparison = told(workspace, reference=None)
    seen: list[tuple[str, bool]] = []

    def check(dtype: str, reference: str, tolerance: Tolerance, bundle: Bundle | None, deadline: float) -> list[Check]:
        again = any(dtype == other for other, _ in seen)
        seen.append((dtype, deadline > time.monotonic()))
        passed, stopped = not (again and dtype == "w8"), not again and dtype != "fp32"
        return [Check("tensors", dtype, reference, 3 + again, {}, 0.9, "a bound", passed, stopped=stopped)]

    monkeypatch.setattr(comparison, "check", check)
    monkeypatch.setattr(comparison, "distance", lambda dtype, bundle: {"w8": 0.1, "q4": 0.2}[dtype])
    evaluator.measure(budget=60)
    assert evaluator.choose("quality", deadline=time.monotonic() + 60) == "q4"
    assert [dtype for dtype, _ in seen] == ["fp32", "w8", "q4", "w8", "q4"]
    assert all(timely for _, timely in seen)
    rows = {row["dtype"]: (row["passed"], row["chosen"]) for row in workspace.manifest.candidates}
    assert rows == {"fp32": (True, False), "w8": (False, False), "q4": (True, True)}
    assert evaluator.inputs_used == "3 inputs, of which w8, q4 on 4"


def test_where_no_time_is_left_the_best_so_far_is_taken(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepipe_export.selection.latency._SETTLE", 0.0)
    evaluator, comparison = told(workspace, reference=None)
    stopped = Check("tensors", "w8", "fp32", 3, {}, 0.9, "a bound", passed=True, stopped=True)
    monkeypatch.setattr(
        comparison, "check", lambda dtype, *_: [stopped if dtype == "w8" else replace(stopped, stopped=False)]
    )
    evaluator.measure(budget=0)
    assert evaluator.choose("quality", deadline=time.monotonic()) == "w8"
    assert evaluator.inputs_used == (
        "3 inputs, of which w8 on 3; the time was over before w8 was decided; give it more (budget=, --budget)"
    )


def test_without_fp32_nothing_is_chosen(workspace: Workspace) -> None:
    evaluator, _ = told(workspace, failing=("fp32",))
    evaluator.measure()
    with pytest.raises(ParityError, match="fp32 against pytorch-fp32"):
        evaluator.choose("size")
    assert workspace.bundle.dtypes == ("fp32", "w8")


def test_what_is_no_number_is_read_back_from_the_cache(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    worst = Check("tensors", "w8", "fp32", 1, {"logits": math.inf}, None, "finite", False)
    monkeypatch.setattr(Told, "check", lambda *_: [worst])
    first, again = told(workspace)[0].check("w8"), told(workspace)[0].check("w8")
    assert first == again
    assert again.checks == (worst,)


def evaluate(workspace: Workspace, loaded: LoadedCheckpoint) -> Evaluator:
    comparison = make_comparison(workspace.bundle, loaded, loaded.checkpoint.task, data=SENTENCES)
    return Evaluator(workspace, comparison, SENTENCES, Tolerance.from_max_drop(8))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Evaluator]:
    """A model with outlier channels, in int8 without smoothing, measured."""
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    inject_outliers(model, (3, 8), 300.0)
    folder = tmp_path_factory.mktemp("hostile") / "bundle"
    manifest = export(model, folder, tokenizer=tokenizer, verify=False).manifest
    assert manifest is not None
    workspace = Workspace(folder, manifest, ("model",), find_target())
    loaded = load(resolve(Request(model, "text-classification", tokenizer, None, False, False)))
    gate = evaluate(workspace, loaded)
    workspace.make("int8")
    gate.measure()
    return workspace, gate


def test_a_hostile_model_fails_and_is_repaired(hostile: tuple[Workspace, Evaluator]) -> None:
    workspace, gate = hostile
    assert gate.measured["fp32"].passed
    assert not gate.measured["int8"].passed
    assert gate.repairable == ("int8",)
    with pytest.raises(ParityError, match=r"int8 against fp32.*agreement \d+\.\d %.*at least 92 %"):
        gate.record(force=False)
    layers = len(workspace.layers("int8"))
    told: list[tuple[int, int]] = []
    assert gate.repair("int8", 300, lambda done, total: told.append((done, total)))
    assert layers < told[-1][0] <= told[-1][1]
    gate.record(force=False)

    variant = workspace.manifest.variants["int8"]
    assert variant.parity is not None
    assert variant.parity.passed
    assert variant.recipe["repair"]["complete"]
    raised = variant.recipe["precisions"]
    assert raised
    assert raised.keys() <= workspace.layers("int8").keys()
    assert set(raised.values()) <= {"w8", "fp32"}
    report = json.loads((workspace.folder / REPORT_NAME).read_text(encoding="utf-8"))
    costs = [entry["cost"] for entry in report["variants"]["int8"]["sensitivities"]]
    assert len(costs) == layers
    assert costs == sorted(costs, reverse=True)


def test_a_repair_weighs_what_its_precisions_take(
    hostile: tuple[Workspace, Evaluator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By times that are given: the variants themselves are made, loaded, run and compared."""
    workspace, gate = hostile
    given = {"int8": Latency(1.0, 0.0), "w8": Latency(9.0, 0.0), "fp32": Latency(2.0, 0.0)}
    loaded: list[int] = []

    def measure(runs: Mapping[str, Callable[[], int]], **_: Any) -> Mapping[str, Latency]:
        loaded.extend(run() for run in runs.values())
        return {name: given[name] for name in runs}

    monkeypatch.setattr("edgepipe_export.selection.evaluator.measure", measure)
    workspace.make("int8")
    gate.measure()
    assert gate.repair("int8", 300, weighs_time=True)
    assert len(loaded) == 3
    assert min(loaded) > 0
    assert list(workspace.folder.glob("onnx/timing-*")) == []
    recipe = workspace.manifest.variants["int8"].recipe
    assert recipe["repair"]["weighs_time"]
    products = {name for name, layer in workspace.layers("int8").items() if layer.products}
    assert {wanted for name, wanted in recipe["precisions"].items() if name in products} == {"fp32"}
    times, counts = gate.weighed["int8"]
    assert times == "1 ms in int8, 9 ms in w8, 2 ms in fp32"
    assert "fp32" in counts


def test_times_of_precisions_are_kept_and_written_for_a_report(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepipe_export.selection.latency._SETTLE", 0.0)
    workspace.make("int8")
    found = []
    for for_report in (True, False):
        steps = Steps()
        data = measure_all(Dataset(TEXTS, None, BUILT_IN))
        gate = Evaluator(
            workspace, Told(steps, ("int8",)), data, Tolerance.from_max_drop(None), for_report=for_report, steps=steps
        )
        gate.measure()
        assert not gate.repair("int8", 300, weighs_time=True)
        found.append(gate.measured["int8"].precision_times)
        assert "int8" in gate.weighed
    assert list(found[0]) == ["int8", "w8", "fp32"]
    assert found[1] == {}


def test_a_repair_measures_each_mixed_graph_once(
    hostile: tuple[Workspace, Evaluator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it keeps is not measured again: a second time might be short of time, and come out otherwise."""
    workspace, gate = hostile
    workspace.make("int8")
    gate.measure()
    check, asked = gate.check, []

    def count(*arguments: Any, **named: Any) -> Any:
        asked.append(arguments)
        return check(*arguments, **named)

    monkeypatch.setattr(gate, "check", count)
    assert gate.repair("int8", 300, on_all_inputs=False)
    assert len(asked) == workspace.manifest.variants["int8"].recipe["repair"]["attempts"]
    assert gate.measured["int8"].passed


def test_a_budget_too_small_is_said(hostile: tuple[Workspace, Evaluator]) -> None:
    workspace, gate = hostile
    workspace.make("int8")
    gate.measure()
    assert not gate.repair("int8", 0)
    assert "precisions" not in workspace.manifest.variants["int8"].recipe
    with pytest.raises(ParityError, match=r"the repair's budget of 0 s was too short: 0 mixed graphs were tried"):
        gate.record(force=False)


def padded(rows: int) -> list[dict[str, NDArray[np.int64]]]:
    """Random ids whose last tokens are padding in all rows but the first: a mask adds the lowest number there is."""
    ids = np.random.default_rng(0).integers(5, 60, (rows, 12))
    mask = np.ones_like(ids)
    mask[1:, 8:] = 0
    return [{"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}]


def test_operators_that_ruin_a_graph_are_taken_out(tmp_path: Path) -> None:
    """What other tools do to a whole graph, in small: attention's mask takes all steps of its scores' range."""
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    folder = tmp_path / "bundle"
    manifest = export(model, folder, tokenizer=tokenizer, verify=False).manifest
    assert manifest is not None
    options = {NAIVE: replace(default_options(NAIVE), everything=True, smoothing=0.0)}
    workspace = Workspace(folder, manifest, ("model",), find_target("vnni"), options=options)
    workspace.batches = padded(8)
    gate = evaluate(workspace, load(resolve(Request(model, "text-classification", tokenizer, None, False, False))))
    workspace.make(NAIVE)
    gate.measure()
    assert gate.repairable == (NAIVE,)
    first = list(workspace.layers(NAIVE).values())[:5]
    assert {layer.name for layer in first} == {"Add", "LayerNormalization", "MatMul", "Mul", "Softmax"}
    assert all(layer.operators and not layer.size for layer in first)
    assert gate.repair(NAIVE, 300)
    recipe = workspace.manifest.variants[NAIVE].recipe
    assert recipe["everything"]
    assert {"Add": "fp32", "Softmax": "fp32"}.items() <= recipe["precisions"].items()
    assert recipe["repair"]["complete"]
    costs = {entry.layer: entry.cost for entry in gate.measured[NAIVE].sensitivities}
    assert set(list(costs)[:2]) == {"Add", "Softmax"}
    graph = onnx_ir.load(workspace.bundle.graph(NAIVE)).graph
    masked = [makers(node)[0] for node in graph if node.op_type == "Softmax"]
    assert set(masked) == {"Add"}  # scores are not cut into steps once the mask is added
    assert any("DequantizeLinear" in makers(node) for node in graph if node.op_type in ("MatMul", "Gemm"))


def makers(node: onnx_ir.Node) -> list[str | None]:
    """The operators that make a node's inputs."""
    found = (None if value is None else value.producer() for value in node.inputs)
    return [None if maker is None else maker.op_type for maker in found]
