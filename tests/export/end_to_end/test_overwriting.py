"""A bundle that is exported again and again while others load it: they see one export or the other, never both."""

from __future__ import annotations

import random
import shutil
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from edgepipe import pipeline
from edgepipe_export.output.atomic_write import write_atomically
from tests.runtime.small_bundle import LABELS, LIMIT, write_bundle

TEXT = "a b c"
LOADS = 100
MOST_SECONDS = 60


def overwrite(sources: list[str], output: str, stop: object) -> None:
    while not stop.is_set():  # type: ignore[attr-defined]
        for source in sources:
            with write_atomically(Path(output), overwrite=True) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
            time.sleep(random.uniform(0.2, 0.4))


def write_sources(folder: Path) -> list[Path]:
    """Two bundles whose files have the same sizes, and other weights and labels."""
    sources = []
    for dtype, name in (("fp32", "one"), ("int8", "two")):  # the dtype picks the weights
        config = {
            "model_type": "bert",
            "architectures": ["BertForSequenceClassification"],
            "id2label": {str(place): f"{name} {label}" for place, label in enumerate(LABELS)},
            "max_position_embeddings": LIMIT,
        }
        sources.append(write_bundle(folder / name, (dtype,), config=config))
    return sources


def test_one_export_is_seen(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "sources")
    for source in sources:
        (source / "README.md").write_text("a card, which no manifest lists")
    expected = {str(pipeline(model=source).model.dtype): pipeline(model=source)(TEXT) for source in sources}
    assert len({str(result) for result in expected.values()}) == 2
    output = tmp_path / "bundle"
    shutil.copytree(sources[0], output)
    context = get_context("spawn")
    stop = context.Event()
    writer = context.Process(target=overwrite, args=([str(source) for source in sources], str(output), stop))
    writer.start()
    seen = set()
    try:
        end = time.monotonic() + MOST_SECONDS
        loads = 0
        while (loads < LOADS or seen != set(expected)) and time.monotonic() < end:
            loads += 1
            classify = pipeline(model=output)
            assert classify(TEXT) == expected[classify.model.dtype]
            seen.add(classify.model.dtype)
    finally:
        stop.set()
        writer.join(20)
    assert seen == set(expected)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_bundle_is_replaced_whole(exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:  # as on systems other than Linux
        monkeypatch.setattr("sys.platform", "darwin")
    one, other = write_sources(tmp_path / "sources")
    shutil.copytree(one, tmp_path / "bundle")
    with write_atomically(tmp_path / "bundle", overwrite=True) as folder:
        shutil.copytree(other, folder, dirs_exist_ok=True)
    assert pipeline(model=tmp_path / "bundle").model.dtype == "int8"
    assert {path.name for path in tmp_path.iterdir()} == {"sources", "bundle"}
