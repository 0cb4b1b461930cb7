"""Exports that go on where an earlier one stopped, and what decides whether a measurement is another one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgepipe import Bundle
from edgepipe.bundle.manifest import Manifest
from edgepipe_export import export
from edgepipe_export.calibration.dataset import Dataset, Words
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.output.fingerprint import fingerprint, hash_reference
from edgepipe_export.quantization.target import Target
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
        return export(checkpoint, output, dtypes=("int8",), **options).path

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
    assert total - again == 4  # the graphs, which took no time to make
    assert content(first.path) == content(second.path)


def test_what_decides_a_measurement(exported: Bundle, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = exported.manifest
    assert isinstance(manifest, Manifest)
    target, texts = Target("vnni"), Dataset(("one", "two"), None, "texts.txt")
    own = fingerprint(exported.path, manifest, target, texts)

    def other(**changes: object) -> str:
        return fingerprint(exported.path, replace(manifest, **changes), target, texts)

    source = replace(manifest.source, model="another name")
    same = [
        other(source=source),
        other(default_dtype="int8"),
        other(variants={"fp32": manifest.variants["fp32"]}),
        fingerprint(copied, manifest, target, replace(texts, origin="renamed.txt")),
    ]
    assert set(same) == {own}

    fp32 = manifest.variants["fp32"]
    weights = replace(fp32.files[-1], sha256="0" * 64)
    gold = Words((0,), ("B-PER",))
    different = [
        other(variants={"fp32": replace(fp32, files=(*fp32.files[:-1], weights))}),
        other(files=manifest.files[:-1]),
        other(max_length=17),
        fingerprint(exported.path, manifest, Target("avx2"), texts),
        fingerprint(exported.path, manifest, target, None),
        fingerprint(exported.path, manifest, target, replace(texts, inputs=("one", "three"))),
        fingerprint(exported.path, manifest, target, replace(texts, gold=("good", "bad"))),
        fingerprint(exported.path, manifest, target, replace(texts, gold=(gold, gold))),
        fingerprint(exported.path, manifest, target, replace(texts, inputs=("\ud800", "\ud801"))),
    ]
    monkeypatch.setattr("edgepipe_export.output.fingerprint.cpu_flags", lambda: frozenset({"none"}))
    different.append(fingerprint(exported.path, manifest, target, texts))
    assert len({own, *different}) == len(different) + 1


def test_the_reference_is_known_by_its_weights(checkpoint: Path, own_checkpoint: Path, tmp_path: Path) -> None:
    def found(model: object, tokenizer: object = None) -> str | None:
        return hash_reference(load(resolve(Request(model, None, tokenizer))))  # type: ignore[arg-type]

    renamed = Path(shutil.move(own_checkpoint, tmp_path / "renamed"))
    assert found(checkpoint) == found(renamed) is not None
    model, tokenizer = build("bert", seed=1, labels=("bad", "fair", "good"))
    assert found(model, tokenizer) is None
    assert found(checkpoint, tokenizer) is None
    model.save_pretrained(renamed)
    assert found(renamed) not in (found(checkpoint), None)


@pytest.mark.parametrize("odd", [torch.tensor(3), torch.zeros(0), torch.ones(2, 2).bfloat16().T, torch.tensor([True])])
def test_any_tensor_is_told_apart(checkpoint: Path, odd: torch.Tensor) -> None:
    loaded = load(resolve(Request(checkpoint)))
    plain = hash_reference(loaded)
    loaded.model.register_buffer("odd", odd)
    assert hash_reference(loaded) not in (plain, None)
