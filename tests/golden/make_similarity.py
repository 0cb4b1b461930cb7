"""Write the golden file of sentence-similarity: what sentence-transformers answers for a tiny encoder.

python -m tests.golden.make_similarity
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import tokenizers
import torch
import transformers
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer import modules

from tests.golden.cases import LONG, TEXTS
from tests.golden.suites import plain, weights_digest
from tests.tiny import build

PATH = Path(__file__).parent / "sentence-similarity" / "bert.json"
SIMILARITIES = {"cosine": util.cos_sim, "dot": util.dot_score}
MODELS: dict[str, dict[str, Any]] = {
    "mean": {"pooling": "mean", "normalize": False, "prompts": {}},
    "cls, unit length, prompt": {"pooling": "cls", "normalize": True, "prompts": {"query": "find this: "}},
}
INPUTS: list[dict[str, Any]] = [
    {"source_sentence": TEXTS["plain"], "sentences": [TEXTS["plain"], *TEXTS.values(), LONG]},
    {"source_sentence": "", "sentences": ["", "I love this"]},
    {"source_sentence": LONG, "sentences": [LONG + "More.", "A very long text"]},
]


def save_encoder(folder: Path, model: str) -> Any:
    """Write a sentence-transformers directory; the transformers model in it."""
    made = MODELS[model]
    encoder, _ = build("bert", task="feature-extraction", directory=folder / "bert")
    parts: list[Any] = [modules.Transformer(str(folder / "bert")), modules.Pooling(32, made["pooling"])]
    parts += [modules.Normalize()] if made["normalize"] else []
    prompts = made["prompts"]
    SentenceTransformer(
        modules=parts, device="cpu", prompts=prompts, default_prompt_name=next(iter(prompts), None)
    ).save(str(folder / "encoder"))
    return encoder


def answers(folder: Path) -> dict[str, list[list[float]]]:
    """The similarities of each input, by kind."""
    encoder = SentenceTransformer(str(folder / "encoder"), device="cpu")
    found: dict[str, list[list[float]]] = {name: [] for name in SIMILARITIES}
    for asked in INPUTS:
        # One at a time: nothing is padded.
        source, *others = (encoder.encode(text) for text in (asked["source_sentence"], *asked["sentences"]))
        for name, function in SIMILARITIES.items():
            found[name].append(function(source, np.stack(others))[0].tolist())
    return found


def main() -> None:
    """Write the file."""
    torch.set_num_threads(1)
    results, weights = {}, {}
    for model in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            weights[model] = weights_digest(save_encoder(Path(folder), model))
            results[model] = plain(answers(Path(folder)))
    packages = (sentence_transformers, transformers, torch, tokenizers, np)
    content = {
        "task": "sentence-similarity",
        "made_by": "python -m tests.golden.make_similarity",
        "versions": {package.__name__: package.__version__ for package in packages},
        "models": MODELS,
        "weights": weights,
        "inputs": INPUTS,
        "results": results,
    }
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{PATH.name}: {len(json.dumps(results)) / 1024:.0f} KiB of results")


if __name__ == "__main__":
    main()
