"""What decides a measurement: the graph, the data, the machine and our own code, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification

from edgepipe import Bundle
from edgepipe.bundle.manifest import Manifest
from edgepipe_export.calibration.dataset import Dataset, Words
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.output.fingerprint import fingerprint, hash_reference
from edgepipe_export.quantization.target import Target
from tests.runtime.small_bundle import rewrite_manifest, write_bundle
from tests.tiny import build


def fingerprint_of(folder: Path) -> str:
    bundle = Bundle.load(folder)
    assert bundle.manifest is not None
    return fingerprint(folder, bundle.manifest, Target("vnni"), None)


def test_the_names_of_variants_in_the_config_decide_nothing(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    path, before = folder / "config.json", fingerprint_of(folder)
    config = json.loads(path.read_text())
    listed = {"transformers.js_config": {"use_external_data_format": {"model_int8.onnx": 1}}}
    path.write_text(json.dumps(listed | dict(reversed(config.items()))))
    manifest = json.loads((folder / "edgepipe.json").read_text())
    (entry,) = (entry for entry in manifest["files"] if entry["path"] == "config.json")
    entry["bytes"] = path.stat().st_size  # it is written again once the variants are known
    rewrite_manifest(folder, manifest)
    assert fingerprint_of(folder) == before


def test_the_rest_of_the_config_decides(tmp_path: Path) -> None:
    found = {
        fingerprint_of(write_bundle(tmp_path / str(number), config={"model_type": "bert", "hidden_size": number}))
        for number in (1, 2)
    }
    assert len(found) == 2


def test_the_same_files_anywhere_are_the_same(tmp_path: Path) -> None:
    assert fingerprint_of(write_bundle(tmp_path / "one")) == fingerprint_of(write_bundle(tmp_path / "other"))


def test_our_own_code_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path)
    before = fingerprint_of(folder)
    monkeypatch.setattr("edgepipe_export.output.fingerprint._hash_sources", lambda: "edited")
    assert fingerprint_of(folder) != before


def test_code_that_is_not_transformers_own_is_not_known(checkpoint: Path) -> None:
    loaded = load(resolve(Request(checkpoint)))
    assert hash_reference(loaded) is not None
    trusted = replace(loaded.checkpoint, request=replace(loaded.checkpoint.request, trust_remote_code=True))
    assert hash_reference(replace(loaded, checkpoint=trusted)) is None

    class Own(BertForSequenceClassification):
        pass

    loaded.model.__class__ = Own
    assert hash_reference(loaded) is None


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
