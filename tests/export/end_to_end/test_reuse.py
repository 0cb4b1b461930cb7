"""Exports that go on where an earlier one stopped, and what decides whether a measurement is another one."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepipe import Bundle
from edgepipe_export import export
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.quantization.target import find_target
from edgepipe_export.selection.choose import list_candidates
from tests.hostile import inject_outliers
from tests.tiny import build

_REUSED = re.compile(r"reused +(\d+) of (\d+) measurements and graphs")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint whose int8 variant must be repaired, and texts that show it."""
    folder = tmp_path_factory.mktemp("hostile")
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    inject_outliers(model, (3, 8), 300.0)
    model.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")
    texts = folder / "texts.txt"
    texts.write_text("\n".join(sentences()[:20]), encoding="utf-8")
    return folder / "checkpoint", texts


def content(bundle: Path) -> dict[str, bytes]:
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def reused(told: str) -> tuple[int, int]:
    found = _REUSED.search(told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def interrupt_at(records: int, cache: Path) -> threading.Thread:
    """Press Ctrl-C once so many measurements are kept."""

    def watch() -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            if len(list(cache.rglob("*.json"))) >= records:
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as on a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_repair_goes_on(
    hostile: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint, texts = hostile

    def made(name: str, *, remeasure: bool = False) -> Path:
        output = tmp_path / name
        options = {"calibration": texts, "max_drop": 8, "progress": True, "remeasure": remeasure}
        return export(
            checkpoint, output, dtypes=("int8",), prefer="size", **options
        ).path  # times would choose as they are

    cache = tmp_path / "cache"
    monkeypatch.setenv("EDGEPIPE_CACHE", str(cache))
    watcher = interrupt_at(6, cache)
    with pytest.raises(KeyboardInterrupt):
        made("stopped")
    watcher.join()
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    kept = len(list(cache.rglob("*.json")))
    assert kept >= 6
    assert reused(capfd.readouterr().err) == (0, 0)

    went_on = made("went on")
    again, total = reused(capfd.readouterr().err)
    assert kept <= again < total
    assert "precisions" in Bundle.load(went_on).manifest.variants["int8"].recipe  # type: ignore[union-attr]

    afresh = made("afresh", remeasure=True)
    assert reused(capfd.readouterr().err) == (0, 0)
    assert content(went_on) == content(afresh)


def test_a_choice_is_made_by_what_was_measured(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(sentences()[:20]), encoding="utf-8")
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("edgepipe_export.selection.latency.NOISY", 1000.0)  # what a noisy machine measured is not kept
    options = {"dtypes": "auto", "calibration": texts, "max_drop": 50, "progress": True}
    first = export(checkpoint, tmp_path / "first", **options)
    assert reused(capfd.readouterr().err) == (0, 0)
    second = export(checkpoint, tmp_path / "second", **options)
    again, total = reused(capfd.readouterr().err)
    quantized = set(list_candidates(find_target(), generates=False)) - {"fp32"}
    assert total - again <= len(quantized)  # the graphs, which are not kept where they took no time to make
    assert content(first.path) == content(second.path)
