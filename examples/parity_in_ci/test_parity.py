"""Does what you deploy answer as what you trained? On your data, within your bounds: ``pytest test_parity.py``.

Copy this file, and change what is in capitals. CHECKPOINT and BUNDLE may come from the environment. Without BUNDLE the
bundle is exported first, with DTYPES.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, pipeline
from edgepipe_export import export

CHECKPOINT = os.environ.get("CHECKPOINT", "my-finetuned-model")  # Hub id or directory
BUNDLE = os.environ.get("BUNDLE")  # what is deployed; None to export it here
DTYPES = ("fp32", "int8")
DATA = Path(__file__).with_name("data.tsv")  # columns `text` and `label`; none that the model was trained with

LARGEST_DIFFERENCE = 1e-4  # of a score, fp32 beside PyTorch
SMALLEST_AGREEMENT = 0.99  # texts of which a variant and PyTorch say the same label
LARGEST_DROP = 0.5  # points of accuracy, a variant beside PyTorch
LARGEST_SIZE = {"int8": 150}  # megabytes of graph and weights


@pytest.fixture(scope="session")
def data() -> list[dict[str, str]]:
    with DATA.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert round(len(rows) * (1 - SMALLEST_AGREEMENT)) >= 1, f"{len(rows)} texts cannot tell {SMALLEST_AGREEMENT:.1%}"
    return rows


@pytest.fixture(scope="session")
def texts(data: list[dict[str, str]]) -> list[str]:
    return [row["text"] for row in data]


@pytest.fixture(scope="session")
def reference(texts: list[str]) -> list[list[dict[str, Any]]]:
    """All labels of each text with their scores, from PyTorch."""
    import transformers

    run = transformers.pipeline("text-classification", CHECKPOINT, device="cpu")
    results: list[list[dict[str, Any]]] = run(texts, top_k=None, truncation=True)
    return results


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return (
        Bundle.load(BUNDLE)
        if BUNDLE
        else export(CHECKPOINT, tmp_path_factory.mktemp("export") / "bundle", dtypes=DTYPES)
    )


def labels(results: list[list[dict[str, Any]]]) -> list[str]:
    return [result[0]["label"] for result in results]


def accuracy(found: list[str], data: list[dict[str, str]]) -> float:
    return 100 * sum(label == row["label"] for label, row in zip(found, data, strict=True)) / len(data)


def test_no_file_was_altered(bundle: Bundle) -> None:
    assert bundle.check()


def test_the_data_have_the_labels_of_the_model(reference: list[Any], data: list[dict[str, str]]) -> None:
    known = {label["label"] for label in reference[0]}
    assert {row["label"] for row in data} <= known


def test_fp32_gives_the_results_of_pytorch(bundle: Bundle, texts: list[str], reference: list[Any]) -> None:
    results = pipeline("text-classification", bundle, dtype="fp32")(texts, top_k=None)
    for text, ours, theirs in zip(texts, results, reference, strict=True):
        expected = {result["label"]: result["score"] for result in theirs}
        found = {result["label"]: result["score"] for result in ours}
        assert found == pytest.approx(expected, abs=LARGEST_DIFFERENCE), text


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_agree(dtype: str, bundle: Bundle, texts: list[str], reference: list[Any]) -> None:
    found = labels(pipeline("text-classification", bundle, dtype=dtype)(texts, top_k=None))
    others = [
        f"{text!r}: {ours} instead of {theirs}"
        for text, ours, theirs in zip(texts, found, labels(reference), strict=True)
        if ours != theirs
    ]
    assert 1 - len(others) / len(texts) >= SMALLEST_AGREEMENT, "\n".join(others)


@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy_stays(
    dtype: str, bundle: Bundle, texts: list[str], data: list[dict[str, str]], reference: list[Any]
) -> None:
    found = labels(pipeline("text-classification", bundle, dtype=dtype)(texts, top_k=None))
    assert accuracy(found, data) >= accuracy(labels(reference), data) - LARGEST_DROP


@pytest.mark.parametrize(("dtype", "megabytes"), LARGEST_SIZE.items())
def test_it_fits(dtype: str, megabytes: float, bundle: Bundle) -> None:
    assert sum(path.stat().st_size for path in bundle.files(dtype)) / 1e6 <= megabytes
