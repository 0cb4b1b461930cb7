"""``audit``: healthy directories of other tools pass, and each published failure is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from edgepipe import Bundle
from edgepipe.cli.main import cli
from edgepipe.errors import BundleError, CheckpointError, InputError
from edgepipe_export import Audit, audit, export
from tests.documentation.pages import text
from tests.export import injected_faults as faults
from tests.golden.make_foreign import FOLDER, FOREIGN, SMALL
from tests.runtime.probed_bundle import sign
from tests.tiny import build
from tests.tiny.generation import export_generative

# Tiny models with random weights have many close decisions.
DROP = 40.0


def parts(found: Audit) -> list[str]:
    return [each.part for each in found.findings]


def verdicts(found: Audit) -> dict[str, bool | None]:
    return {each.dtype: each.passed for each in found.variants}


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_healthy_directories_pass(name: str, tmp_path: Path) -> None:
    foreign = FOREIGN[name]
    task = foreign.checkpoint or foreign.task
    build(foreign.architecture, task=task, directory=tmp_path / "checkpoint", **SMALL | foreign.build)
    found = audit(FOLDER / name, tmp_path / "checkpoint", max_drop=DROP)
    assert found.tasks[0] == foreign.task
    assert (parts(found), verdicts(found)) == ([], {"fp32": True, "q8": True}), found.table()
    assert found.passed


def forget_manifest(bundle: Bundle) -> Path:
    """Have a bundle be another tool's."""
    (bundle.path / "edgepipe.json").unlink()
    return bundle.path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and what another tool could have made of it: fp32, int8, fp16."""
    root = tmp_path_factory.mktemp("classifier")
    build("bert", directory=root / "checkpoint", labels=("bad", "fair", "good"))
    bundle = export(root / "checkpoint", root / "made", dtypes=("fp32", "int8", "fp16"), verify=False)
    return root / "checkpoint", bundle.path


@pytest.fixture
def folder(classifier: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(classifier[1], tmp_path / "directory"))


def test_what_edgepipe_made_passes(classifier: tuple[Path, Path]) -> None:
    found = audit(classifier[1], classifier[0], max_drop=DROP)
    assert (parts(found), verdicts(found)) == ([], {"fp32": True, "int8": True, "fp16": True}), found.table()
    assert set(found.tasks) >= {"text-classification", "zero-shot-classification"}
    record = json.loads(found.to_json())
    assert record["passed"] is True
    assert record["verification"]


def test_a_quantized_variant_that_collapsed(classifier: tuple[Path, Path], folder: Path) -> None:
    def collapse(_: Any, weights: dict[str, Any]) -> None:
        for name, array in weights.items():
            if array.dtype == np.int8 and array.ndim == 2:
                weights[name] = np.clip(array, -1, 1)

    faults.edit_graph(folder, "int8", collapse)
    found = audit(forget_manifest(Bundle.load(folder)), classifier[0], max_drop=5)
    assert verdicts(found)["int8"] is False
    assert verdicts(found)["fp32"] is True
    [verdict] = [each.verdict for each in found.variants if each.dtype == "int8"]
    assert "agreement" in verdict
    assert "FAILED" in found.table(width=80)
    assert not found.passed


def test_fp16_that_overflows(classifier: tuple[Path, Path], folder: Path) -> None:
    faults.edit_graph(folder, "fp16", faults.overflow)
    found = audit(forget_manifest(Bundle.load(folder)), classifier[0], max_drop=DROP)
    assert verdicts(found) == {"fp32": True, "fp16": False, "int8": True}
    [verdict] = [each.verdict for each in found.variants if each.dtype == "fp16"]
    assert "not finite" in verdict


def test_labels_in_another_order(classifier: tuple[Path, Path], folder: Path) -> None:
    def turn(config: dict[str, Any]) -> None:
        config["id2label"] = {"0": "good", "1": "fair", "2": "bad"}
        config["label2id"] = {"good": 0, "fair": 1, "bad": 2}

    faults.edit_json(folder / "config.json", turn)
    sign(folder)
    found = audit(forget_manifest(Bundle.load(folder)), classifier[0], max_drop=DROP)
    assert parts(found) == ["labels"]
    assert "in another order than the checkpoint's (bad, fair, good), here good, fair, bad" in found.findings[0].problem


def test_without_the_checkpoint_variants_are_run(folder: Path) -> None:
    found = audit(forget_manifest(Bundle.load(folder)))
    assert verdicts(found) == {"fp32": None, "fp16": None, "int8": None}
    assert found.passed
    (folder / "onnx" / "model_int8.onnx").write_bytes(b"no graph")
    found = audit(folder)
    assert verdicts(found)["int8"] is False
    assert not found.passed


def test_a_repair_writes_a_bundle_that_passes(classifier: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    faults.edit_graph(folder, "int8", faults.make_nan)
    directory = forget_manifest(Bundle.load(folder))
    with pytest.raises(InputError, match=r"repair \(--repair\) exports the checkpoint again: name it too"):
        audit(directory, repair=tmp_path / "repaired")
    found = audit(directory, classifier[0], max_drop=DROP, repair=tmp_path / "repaired")
    assert verdicts(found)["int8"] is False
    repaired = Bundle.load(tmp_path / "repaired")
    assert set(repaired.dtypes) == {"fp32", "int8", "fp16"}
    assert audit(repaired, classifier[0], max_drop=DROP).passed


def test_another_model(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    build("albert", directory=tmp_path / "other")
    with pytest.raises(CheckpointError, match="it was not made from this model"):
        audit(classifier[1], tmp_path / "other")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sentence-transformers checkpoint with a Dense layer, and an ONNX directory of it."""
    transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules
    from torch import nn

    root = tmp_path_factory.mktemp("encoder")
    build("bert", directory=root / "tiny", task="feature-extraction")
    chain = [modules.Transformer(str(root / "tiny")), modules.Pooling(32, "mean")]
    chain += [modules.Dense(32, 16, activation_function=nn.ReLU()), modules.Normalize()]
    transformers.SentenceTransformer(modules=chain, device="cpu").save(str(root / "encoder"))
    bundle = export(root / "encoder", root / "made", verify=False)
    return root / "encoder", forget_manifest(bundle)


@pytest.fixture
def vectors(encoder: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder[1], tmp_path / "directory"))


def test_a_whole_encoder_passes(encoder: tuple[Path, Path]) -> None:
    found = audit(encoder[1], encoder[0])
    assert (parts(found), verdicts(found)) == ([], {"fp32": True}), found.table()


@pytest.mark.parametrize("kind", ["Dense", "Normalize"])
def test_a_module_that_is_missing(encoder: tuple[Path, Path], vectors: Path, kind: str) -> None:
    path = vectors / "modules.json"
    entries = [entry for entry in json.loads(path.read_text()) if not entry["type"].endswith(kind)]
    path.write_text(json.dumps(entries))
    found = audit(vectors, encoder[0])
    assert parts(found) == ["modules"]
    assert f"{kind} of the checkpoint is missing" in found.findings[0].problem
    assert not found.passed


def test_no_modules_at_all(encoder: tuple[Path, Path], vectors: Path) -> None:
    (vectors / "modules.json").unlink()
    found = audit(vectors, encoder[0])
    assert parts(found) == ["modules"]
    assert "nothing says that Pooling, Dense, Normalize follow" in found.findings[0].problem


def test_another_pooling(encoder: tuple[Path, Path], vectors: Path) -> None:
    path = vectors / "1_Pooling" / "config.json"
    config = {name: value for name, value in json.loads(path.read_text()).items() if "pooling_mode" not in name}
    path.write_text(json.dumps(config | {"pooling_mode_cls_token": True}))
    found = audit(vectors, encoder[0])
    assert parts(found) == ["pooling"]
    assert "tokens are pooled by cls, in the checkpoint by mean" in found.findings[0].problem


def test_a_module_whose_weights_are_missing_is_named_without_the_checkpoint(vectors: Path) -> None:
    (vectors / "2_Dense" / "model.safetensors").unlink()
    found = audit(vectors)
    assert parts(found) == ["modules"]
    assert "2_Dense" in found.findings[0].problem


def test_a_decoder_without_a_cache(tmp_path: Path) -> None:
    kept = FOLDER.parent / "foreign_writers" / "separate"
    found = audit(shutil.copytree(kept, tmp_path / "writer"))
    assert found.tasks[0] == "text2text-generation"
    assert [(each.part, each.fatal) for each in found.findings] == [("cache", False)]


def test_a_directory_that_writes(tmp_path: Path) -> None:
    model, tokenizer, bundle = export_generative("gpt2", tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    found = audit(forget_manifest(bundle), tmp_path / "checkpoint")
    assert verdicts(found) == {"fp32": True}, found.table()


def test_a_variant_that_writes_has_to_write_without_the_checkpoint_too(tmp_path: Path) -> None:
    bundle = export_generative("gpt2", tmp_path)[2]
    folder = forget_manifest(bundle)
    assert verdicts(audit(folder)) == {"fp32": None}
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), tensor.name))
    onnx.save_model(model, path)
    [variant] = audit(folder).variants
    assert variant.passed is False
    assert "not finite" in variant.verdict


def test_no_tokenizer_that_runs_alone(folder: Path, classifier: tuple[Path, Path]) -> None:
    (folder / "tokenizer.json").unlink()
    found = audit(forget_manifest_quietly(folder))
    assert "tokenizer" in parts(found)


def forget_manifest_quietly(folder: Path) -> Path:
    (folder / "edgepipe.json").unlink()
    return folder


def test_what_transformers_exporters_wrote(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    exporters = pytest.importorskip("transformers.exporters")
    model = AutoModelForSequenceClassification.from_pretrained(classifier[0]).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier[0])
    inputs = dict(tokenizer(["one two", "three"], return_tensors="pt", padding=True))
    made = exporters.OnnxExporter().export(model, inputs, exporters.OnnxConfig(dynamic=True))
    made.save_pretrained(tmp_path / "made")
    tokenizer.save_pretrained(tmp_path / "made")
    assert (tmp_path / "made" / "export.json").is_file()
    found = audit(tmp_path / "made", classifier[0])
    assert (parts(found), verdicts(found)) == ([], {"fp32": True}), found.table()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("genai_config.json", "model.onnx"), "is onnxruntime-genai's"),
        (("openvino_model.xml", "openvino_model.bin"), "is OpenVINO's IR"),
        (("model.onnx", "model_config.json"), "has graphs, but no config.json"),  # Olive
    ],
    ids=["onnxruntime-genai", "openvino", "olive"],
)
def test_what_cannot_be_read_is_named(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(BundleError, match=message):
        audit(tmp_path)


def test_the_page_of_a_directory_of_another_tool(classifier: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    faults.edit_json(folder / "config.json", lambda config: config.update(id2label={"0": "x", "1": "y", "2": "z"}))
    sign(folder)
    directory = forget_manifest(Bundle.load(folder))
    page = tmp_path / "page.html"
    arguments = ["audit", str(directory), str(classifier[0]), "--max-drop", "40", "--report", str(page), "--quiet"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1, done.output
    assert f"report: {page}" in done.output
    text_of_page = page.read_text(encoding="utf-8")
    assert "Missing or wrong" in text_of_page
    record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert [each["part"] for each in record["findings"]] == ["labels"]
    assert {each["dtype"] for each in record["variants"]} == {"fp32", "int8", "fp16"}
    assert all(each["parity"] is not None for each in record["variants"])
    # Without the checkpoint there are sizes.
    assert CliRunner().invoke(cli, ["audit", str(directory), "--report", str(page), "--quiet"]).exit_code == 0
    record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert {each["parity"] for each in record["variants"]} == {None}


def test_every_kind_of_finding_is_on_the_page() -> None:
    page = text("docs/how-to/auditing.md")
    for part in ("labels", "pooling", "modules", "cache", "tokenizer"):
        assert f"| `{part}` |" in page
