"""The search for the layers that must go up in precision, on benches whose answers are known; then on real graphs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray

from edgepipe.bundle.layout import REPORT_NAME
from edgepipe.errors import ParityError
from edgepipe_export import export
from edgepipe_export.calibration.dataset import BUILT_IN, Dataset
from edgepipe_export.calibration.split import measure_all
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.load import LoadedCheckpoint, load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.comparison import make_comparison
from edgepipe_export.evaluation.tolerances import Tolerance
from edgepipe_export.output.workspace import Workspace
from edgepipe_export.quantization.quantize import default_options
from edgepipe_export.quantization.target import find_target
from edgepipe_export.selection.evaluator import Evaluator
from edgepipe_export.selection.mixed_precision import repair
from tests.hostile import inject_outliers
from tests.tiny import build


class Made:
    """A bench whose layers cost what it is told: the gate holds up to a sum of costs. A second passes a measurement."""

    def __init__(
        self,
        costs: Mapping[str, float],
        bound: float,
        ladder: Mapping[str, float],
        weightless: Collection[str] = (),
    ) -> None:
        self.layers = list(costs)
        self.ladder = list(ladder)
        self.weightless = frozenset(weightless)
        self._costs = costs
        self._bound = bound
        self._left = ladder
        self.now = 0.0

    def cost(self, layer: str) -> float:
        self.now += 1
        return self._costs[layer]

    def passes(self, precisions: Mapping[str, str]) -> bool:
        self.now += 1
        left = (cost * self._left.get(precisions.get(name, ""), 1.0) for name, cost in self._costs.items())
        return sum(left) <= self._bound

    def clock(self) -> float:
        return self.now


TEN = {f"layer {number}": float(number) for number in range(10)}  # together 45
LADDER = {"w8": 0.1, "fp32": 0.0}
SENTENCES = measure_all(Dataset(sentences(), None, BUILT_IN))
NAIVE = "int8-static"
LARGEST = ("layer 7", "layer 6", "layer 4")


@pytest.mark.parametrize(
    ("bound", "raised"),
    [
        (40, {"w8": 1}),  # 9 -> 0.9 leaves 36.9
        (25, {"w8": 3}),  # 9, 8 and 7 leave 23.4
        (4.6, {"w8": 9}),  # all but the one that costs nothing
        (3.7, {"fp32": 1, "w8": 9}),
        (2.2, {"fp32": 3, "w8": 7}),
    ],
)
def test_the_fewest_layers_go_up(bound: float, raised: dict[str, int]) -> None:
    bench = Made(TEN, bound, LADDER)
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is not None
    assert found.complete
    counted = {name: list(found.precisions.values()).count(name) for name in set(found.precisions.values())}
    assert counted == raised
    highest = "fp32" if "fp32" in raised else "w8"
    best = sorted(TEN, key=lambda name: -TEN[name])[: raised[highest]]
    assert {name for name, precision in found.precisions.items() if precision == highest} == set(best)
    assert bench.passes(found.precisions)
    assert list(found.costs.values()) == sorted(TEN.values(), reverse=True)


def test_not_more_than_half_of_the_layers_are_left_in_fp32() -> None:
    bench = Made(TEN, 0.2, LADDER)
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is None
    assert found.complete


def test_a_recipe_that_mixes_with_fp32_alone() -> None:
    bench = Made(TEN, 30, {"fp32": 0.0})
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions == {"layer 9": "fp32", "layer 8": "fp32"}


def test_what_has_no_weight_goes_up_at_once_and_is_not_among_the_half() -> None:
    costly = ("layer 9", "layer 8", "layer 5")
    once = Made(TEN, 28.5, LADDER, costly)  # 9 and 8 leave 28, where w8 would leave 29.7
    found = repair(once, 1000, clock=once.clock)
    assert found.precisions == {"layer 9": "fp32", "layer 8": "fp32"}
    # 7, 6 and 4 of the seven weights may be fp32, beside the three without; 0.1 of 3, 2, 1 and 0 is left.
    last = Made(TEN, 0.61, LADDER, costly)
    found = repair(last, 1000, clock=last.clock)
    assert found.precisions is not None
    assert {name for name, wanted in found.precisions.items() if wanted == "fp32"} == {*costly, *LARGEST}
    assert repair(Made(TEN, 0.5, LADDER, costly), 1000).precisions is None


@pytest.mark.parametrize("budget", [0, 5, 14, 17, 30])
def test_a_budget_ends_it_with_what_passes_or_nothing(budget: float) -> None:
    bench = Made(TEN, 18, LADDER)
    found = repair(bench, budget, clock=bench.clock)
    assert bench.now <= budget + 1
    assert found.complete == (budget == 30)
    assert found.precisions is None or bench.passes(found.precisions)
    if budget == 0:
        assert (found.precisions, found.costs, found.attempts) == (None, {}, 0)
    if budget >= 14:
        assert found.precisions is not None


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    bench = Made(TEN, 40, LADDER)
    found = repair(bench, 1000, clock=bench.clock, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, 10 + found.attempts + 1))
    assert {total for _, total in told} == {10 + 5 + 4 + 3}  # layers; counts of w8, counts of fp32, halvings


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
    workspace = Workspace(folder, manifest, ("model",), find_target("vnni"))
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
