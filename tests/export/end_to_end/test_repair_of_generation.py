"""Repair of models that generate: outlier channels ruin int8's perplexity, and the layers that read them go up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgepipe import pipeline
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe_export import export
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.calibration.split import measure_all
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.comparison import make_comparison
from edgepipe_export.evaluation.tolerances import Tolerance
from edgepipe_export.output.workspace import Workspace
from edgepipe_export.quantization.target import find_target
from edgepipe_export.selection.evaluator import Evaluator
from tests.hostile import inject_outliers
from tests.tiny.generative import build_generative

# The models are random, and foretell nothing as well as what they write themselves.
TEXTS, WRITTEN = 12, 16


@dataclass(frozen=True)
class Hostile:
    """A model that 8 bits ruin.

    Attributes:
        family: What it is.
        task: What it does.
        graphs: Names of its graphs.
        size: By how much its channels are moved.
        bound: How many percent perplexity may rise: random weights lose much.
        readers: What the names of layers that read such channels end with.
    """

    family: str
    task: str
    graphs: tuple[str, ...]
    size: float
    bound: float
    readers: tuple[str, ...]

    @property
    def continues(self) -> bool:
        """Whether texts themselves are foretold, and not what the model makes of them."""
        return len(self.graphs) == 1


GPT2 = Hostile("gpt2", "text-generation", ("model",), 300.0, 1, ("attn.c_attn", "mlp.c_fc"))
BART = Hostile(
    "bart", "summarization", ("encoder_model", "decoder_model_merged"), 30.0, 10, ("fc1", "encoder_attn.q_proj")
)


@pytest.mark.parametrize("hostile", [GPT2, BART], ids=["gpt2", "bart"])
def test_the_layers_that_read_outliers_go_up(hostile: Hostile, tmp_path: Path) -> None:
    model, tokenizer = build_generative(hostile.family)
    inject_outliers(model, (3, 8), hostile.size)
    folder = tmp_path / "bundle"
    manifest = export(model, folder, tokenizer=tokenizer, task=hostile.task, verify=False).manifest
    assert manifest is not None
    workspace = Workspace(folder, manifest, hostile.graphs, find_target())
    texts: Sequence[str] = sentences()[:TEXTS]
    if hostile.continues:
        write = pipeline(hostile.task, workspace.bundle)
        texts = [write(text, max_new_tokens=WRITTEN)[0]["generated_text"] for text in texts]
    loaded = load(resolve(Request(model, hostile.task, tokenizer, None, False, False)))
    data = measure_all(Dataset(tuple(texts), None, "own.txt"))
    comparison = make_comparison(workspace.bundle, loaded, loaded.checkpoint.task, data=data)
    gate = Evaluator(workspace, comparison, data, Tolerance.from_max_drop(hostile.bound))
    workspace.make("int8")
    gate.measure()
    assert gate.repairable == ("int8",)

    assert gate.repair("int8", 600)
    (check,) = gate.measured["int8"].checks
    assert check.figures["perplexity"] <= (1 + hostile.bound / 100) * check.figures["reference_perplexity"]
    recipe = workspace.manifest.variants["int8"].recipe
    assert recipe["repair"]["complete"]
    layers = workspace.layers("int8")
    assert recipe["precisions"]
    readers = [name for name, layer in layers.items() if layer.label.endswith(hostile.readers)]
    ranked = [entry.layer for entry in gate.measured["int8"].sensitivities]
    assert len(ranked) == len(layers)
    # What reads the channels costs most in a decoder; the random encoder of a BART is as sensitive everywhere.
    assert len(set(ranked[: len(readers)]) & set(readers)) >= (len(readers) if hostile.continues else 1)
    assert recipe["precisions"].keys() <= layers.keys()
    assert set(recipe["precisions"].values()) <= {"fp32", "w8"}
    assert not any("precisions" in graph for graph in recipe.get("graphs", {}).values())
    assert load_decoder(workspace.bundle, "int8").is_encoder_decoder != hostile.continues
