"""Measure the accuracy of a sentiment classifier: a checkpoint with transformers, or a bundle with edgepipe.

python models/measure_default.py models/default dev.tsv
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.data import read_examples


def _load_classifier(model: Path) -> Callable[[list[str]], list[dict[str, Any]]]:
    """`pipeline("text-classification")` of edgepipe where there is a bundle's manifest, else of transformers."""
    if (model / "edgepipe.json").is_file():
        from edgepipe import pipeline as edgepipe_pipeline

        bundle: Any = edgepipe_pipeline("text-classification", str(model))
        return lambda texts: list(bundle(texts))
    import torch
    from transformers import pipeline as transformers_pipeline

    checkpoint: Any = transformers_pipeline("text-classification", str(model), dtype=torch.float32, device="cpu")
    return lambda texts: list(checkpoint(texts))


def main() -> None:
    """Print the accuracy and the confusion counts."""
    parser = argparse.ArgumentParser(description="Measure the accuracy of a sentiment classifier.")
    parser.add_argument("model", type=Path, help="a checkpoint's or a bundle's directory")
    parser.add_argument("data", type=Path, help="a file of text<TAB>label lines, 0 negative and 1 positive")
    options = parser.parse_args()
    examples = read_examples(options.data)
    results = _load_classifier(options.model)([example.text for example in examples])
    labels = ("NEGATIVE", "POSITIVE")
    pairs = [(labels[example.label], result["label"]) for example, result in zip(examples, results, strict=True)]
    right = sum(expected == predicted for expected, predicted in pairs)
    print(f"{right} of {len(pairs)} right: accuracy {right / len(pairs):.4f}")
    for label in labels:
        total = sum(expected == label for expected, _ in pairs)
        print(f"{label}: {pairs.count((label, label))} of {total} found")


if __name__ == "__main__":
    main()
