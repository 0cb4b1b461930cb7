"""Write ``embedded.json``: what the embedded default answers, by ``tokenizers`` and ``onnxruntime`` without edgepipe.

    python -m tests.golden.make_embedded

Run it again when the embedded bundle is made anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers

BUNDLE = Path(__file__).parents[2] / "models" / "edgepipe_models" / "default"
GRAPH = BUNDLE / "onnx" / "model_int8.onnx"
FILE = Path(__file__).parent / "embedded.json"

TEXTS = [
    "I love this",
    "I hate this",
    "What a waste of two hours.",
    "The soup was cold and nobody apologized.",
    "It starts slowly, but the ending is wonderful.",
    "Not bad at all.",
    "Works as described, thank you!",
    "It broke after two days and support never answered.",
    "I would not recommend it to anyone.",
    "",
    "a",
    "👍🏽",
    "这部电影很好看",
    "be\x00fore",
    " \t\n",
    "Great, " * 400,
]


def fingerprint() -> str:
    """The sha256 of the graph and its weights, one after the other."""
    digest = hashlib.sha256()
    for path in (GRAPH, GRAPH.with_name(f"{GRAPH.name}_data")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def answers() -> list[dict[str, Any]]:
    """Label and score of each text."""
    config = json.loads((BUNDLE / "config.json").read_text(encoding="utf-8"))
    tokenizer = tokenizers.Tokenizer.from_file(str(BUNDLE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(config["max_position_embeddings"])
    session = onnxruntime.InferenceSession(str(GRAPH), providers=["CPUExecutionProvider"])
    found = []
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        arrays = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feeds = {node.name: np.array([arrays[node.name]], np.int64) for node in session.get_inputs()}
        logits = session.run(["logits"], feeds)[0][0].astype(np.float64)
        scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = int(scores.argmax())
        found.append({"text": text, "label": config["id2label"][str(best)], "score": float(scores[best])})
    return found


def main() -> None:
    """Write the file."""
    versions = {package.__name__: package.__version__ for package in (onnxruntime, tokenizers, np)}
    content = {
        "made_by": "python -m tests.golden.make_embedded",
        "versions": versions,
        "sha256": fingerprint(),
        "answers": answers(),
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {len(TEXTS)} texts")


if __name__ == "__main__":
    main()
