"""Which candidates become probes, what is recorded of them, and how a bundle gets some afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, check
from edgepipe.bundle.layout import PROBES_NAME
from edgepipe.bundle.manifest import Manifest
from edgepipe.checking.probes import HANDFUL, MOST_BYTES, Probes
from edgepipe.errors import BundleError, InputError
from edgepipe_export import export, verify
from edgepipe_export.probes import recording
from edgepipe_export.probes.recording import make_probes
from tests.conftest import Exported


def test_an_export_records_every_variant(exported: Bundle) -> None:
    found = Probes.load(exported.path)
    assert (found.task, found.texts) == ("text-classification", "built-in")
    assert set(found.outputs) == set(found.machines) == set(found.tolerances) == {"fp32", "int8"}
    kinds = [probe.kind for probe in found.probes]
    assert len(kinds) == 16
    assert set(kinds[:HANDFUL]) == {"border", "moved", "script", "batch"}
    assert kinds[-1] == "long"
    assert (exported.path / PROBES_NAME).stat().st_size <= MOST_BYTES


def test_fp32_is_recorded_of_a_bundle_without_it(checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "small", dtypes=("w8",), verify=False)
    found = Probes.load(bundle.path)
    assert set(found.outputs) == {"fp32", "w8"}
    assert set(found.tolerances) == {"w8"}
    assert check(bundle).passed


def test_two_exports_have_the_same_probes(checkpoint: Path, tmp_path: Path) -> None:
    one, other = (export(checkpoint, tmp_path / name, dtypes=("fp32", "int8"), verify=False) for name in "ab")
    assert (one.path / PROBES_NAME).read_bytes() == (other.path / PROBES_NAME).read_bytes()


def test_there_are_no_more_than_fit(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_BYTES", 9000)
    found = make_probes(exported, exported.dtypes)
    assert found is not None
    assert HANDFUL <= len(found.probes) < 16
    assert len(found.to_json()) <= 9000
    assert {len(rows) for rows in found.outputs.values()} == {len(found.probes)}


def test_texts_of_the_data_are_in_the_bundle_only_where_that_is_wanted(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("\n".join(f"secret number {number}" for number in range(30)), encoding="utf-8")
    options: dict[str, Any] = {"calibration": tmp_path / "mine.txt", "verify": False}
    plain = export(checkpoint, tmp_path / "plain", **options)
    assert "secret" not in (plain.path / PROBES_NAME).read_text(encoding="utf-8")
    own = export(checkpoint, tmp_path / "own", probes_from_data=True, **options)
    found = Probes.load(own.path)
    assert all(text.startswith("secret number") for probe in found.probes for text in probe.inputs)
    assert "mine" in found.texts
    assert check(own).passed
    with pytest.raises(InputError, match="takes probes of the data: give calibration= too"):
        export(checkpoint, tmp_path / "none", probes_from_data=True)


def strip(folder: Path) -> Bundle:
    """Take the probes out, as an earlier version wrote bundles."""
    (folder / PROBES_NAME).unlink()
    record = json.loads((folder / "edgepipe.json").read_text(encoding="utf-8"))
    record["files"] = [entry for entry in record["files"] if entry["path"] != PROBES_NAME]
    del record["manifest_sha256"]
    text = Manifest.from_json(json.dumps(record)).to_json()
    (folder / "edgepipe.json").write_text(text, encoding="utf-8")
    return Bundle.load(folder)


def test_a_bundle_of_an_earlier_version_gets_probes(copied: Path, checkpoint: Path, exported: Bundle) -> None:
    old = strip(copied)
    with pytest.raises(BundleError, match="has no probes"):
        check(old)
    graphs = {path.name: path.read_bytes() for path in (copied / "onnx").iterdir()}
    assert verify(old, checkpoint, texts=["a b c", "one two"], update=True).passed
    assert check(copied).passed
    assert (copied / PROBES_NAME).read_bytes() == (exported.path / PROBES_NAME).read_bytes()
    assert {path.name: path.read_bytes() for path in (copied / "onnx").iterdir()} == graphs
    Bundle.load(copied).check()


def test_a_bundle_that_cannot_be_updated(copied: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"leave dtype \(--dtype\) out"):
        verify(copied, checkpoint, dtype="int8", update=True)
    foreign = Path(shutil.copytree(copied, tmp_path / "foreign"))
    (foreign / "edgepipe.json").unlink()
    with pytest.raises(BundleError, match="another tool's, without a manifest"):
        verify(foreign, checkpoint, update=True)
    for path in (copied / "onnx").glob("model.onnx*"):
        path.unlink()
    with pytest.raises(BundleError, match="has no fp32, which probes compare with"):
        verify(copied, checkpoint, update=True)


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "fill-mask", "feature-extraction"])
def test_every_task(tiny_export: Callable[..., Exported], task: str) -> None:
    assert check(tiny_export("bert", task=task).bundle).passed


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_models_that_write(writer: Callable[[str], tuple[Any, Any, Bundle]], family: str) -> None:
    bundle = writer(family)[2]
    assert len(Probes.load(bundle.path).probes) == 6
    assert check(bundle).passed
