from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline as transformers_pipeline

import edgepipe_export.evaluation.parity as checks_module
import edgepipe_export.output.workspace as variants
from edgepipe import Bundle, pipeline
from edgepipe.errors import BundleError, CheckpointError, DependencyError, ExportError, InputError, ParityError
from edgepipe_export import export
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.calibration.split import CALIBRATED, measure_all
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.output.model_card import SourceCard, read_source_card, render_model_card
from edgepipe_export.quantization.target import CPU_TARGETS, find_target
from edgepipe_export.requirements import PACKAGES
from tests.tiny import build

# Seconds to wait for another process, which takes a few where nothing else runs.
PATIENCE = 300

# The package's attribute of that name is the function.
export_module = sys.modules["edgepipe_export.exporter"]


@pytest.fixture
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_bundle_holds(exported: Bundle) -> None:
    assert sorted(files_of(exported.path)) == [
        "README.md",
        "config.json",
        "edgepipe.json",
        "edgepipe_probes.json",
        "edgepipe_report.json",
        "onnx/model.onnx",
        "onnx/model.onnx_data",
        "onnx/model_int8.onnx",
        "onnx/model_int8.onnx_data",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert oct(exported.path.stat().st_mode & 0o700) == oct(0o700)


def test_the_manifest(exported: Bundle) -> None:
    manifest = exported.manifest
    assert manifest is not None
    assert manifest.task == "text-classification"
    assert (manifest.source.model, manifest.source.revision) == ("tiny-bert", None)
    assert manifest.source.architecture == "BertForSequenceClassification"
    assert manifest.labels == ("bad", "fair", "good")
    assert manifest.max_length == 64
    assert manifest.default_dtype == "fp32"
    assert manifest.target == find_target().name
    assert set(manifest.versions) == {"edgepipe", *PACKAGES}
    exact, quantized = manifest.variants["fp32"].parity, manifest.variants["int8"].parity
    assert exact is not None
    assert exact.reference == "pytorch-fp32"
    assert exact.max_abs_diff["logits"] < 1e-4
    assert exact.label_agreement == 1
    assert quantized is not None
    assert quantized.reference == "fp32"
    assert (exact.texts, exact.seen) == (len(sentences()), 0)
    assert (quantized.texts, quantized.seen) == (len(sentences()) - CALIBRATED, 0)
    assert quantized.max_abs_diff["logits"] > 1e-4
    assert manifest.variants["int8"].recipe["per_channel"] is True
    assert len(exported.check()) == 8


def test_the_config_tells_transformers_js_where_the_weights_are(exported: Bundle) -> None:
    config = json.loads((exported.path / "config.json").read_text())
    assert config["transformers.js_config"] == {
        "use_external_data_format": {"model.onnx": 1, "model_int8.onnx": 1},
        "dtype": "int8",  # a page downloads the smallest, though fp32 comes first
    }
    assert config["dtype"] == "float32"
    assert config["architectures"] == ["BertForSequenceClassification"]


@pytest.mark.parametrize(("dtypes", "named"), [(("int8", "w8"), "w8"), (("int8",), None)])
def test_what_transformers_js_has_no_name_for_is_said(
    dtypes: tuple[str, ...], named: str | None, checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export(checkpoint, tmp_path / "out", dtypes=dtypes, verify=False, progress=True)
    told = re.findall(r"transformers\.js has no name for ([\w-]+),", capfd.readouterr().err)
    assert told == ([] if named is None else [named])


def test_results_are_those_of_transformers(exported: Bundle, checkpoint: Path) -> None:
    ours = pipeline("text-classification", exported)
    theirs = transformers_pipeline("text-classification", model=str(checkpoint))
    for text in ("I love this", "", "😀 你好"):
        assert ours(text)[0]["label"] == theirs(text)[0]["label"]
        assert ours(text)[0]["score"] == pytest.approx(theirs(text)[0]["score"], abs=1e-4)


@pytest.mark.usefixtures("fresh_trace")
def test_two_exports_are_the_same_byte_for_byte(exported: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    again = export(checkpoint, tmp_path / "again", dtypes=("fp32", "int8"), max_drop=20)
    first, second = files_of(exported.path), files_of(again.path)
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.usefixtures("fresh_trace")
def test_a_loaded_model_gives_the_same_graph(exported: Bundle, tmp_path: Path) -> None:
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    bundle = export(model, tmp_path / "out", tokenizer=tokenizer, verify=False)
    assert bundle.manifest is not None
    assert bundle.manifest.source.model == "BertForSequenceClassification"
    assert bundle.manifest.variants["fp32"].parity is None
    for name in ("model.onnx", "model.onnx_data"):
        assert (bundle.path / "onnx" / name).read_bytes() == (exported.path / "onnx" / name).read_bytes()


def test_a_quantized_variant_alone(checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "out", dtypes="int8", max_drop=20)
    assert bundle.dtypes == ("int8",)
    assert bundle.default_dtype == "int8"
    assert sorted(os.listdir(bundle.path / "onnx")) == ["model_int8.onnx", "model_int8.onnx_data"]
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["int8"].parity
    assert parity is not None
    assert parity.reference == "fp32"
    assert pipeline("text-classification", bundle)("good")


def test_a_bundle_is_replaced_only_when_asked(copied: Path, checkpoint: Path) -> None:
    with pytest.raises(ExportError, match="exists"):
        export(checkpoint, copied, verify=False)
    assert "int8" in Bundle.load(copied).dtypes
    assert export(checkpoint, copied, verify=False, overwrite=True).dtypes == ("fp32",)


@pytest.fixture
def wrong_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the graph came out wrong."""
    honest = checks_module.compare_tensors

    def shifted(pairs: Any) -> Any:
        return honest((expected, {name: array + 0.5 for name, array in got.items()}) for expected, got in pairs)

    monkeypatch.setattr(checks_module, "compare_tensors", shifted)


@pytest.mark.usefixtures("wrong_graph", "fresh_trace")
def test_a_wrong_graph_is_not_written(checkpoint: Path, tmp_path: Path, own_temporary_directory: Path) -> None:
    with pytest.raises(ParityError, match=r"logits differs by up to 0\.5.*--force.*\(log: ") as caught:
        export(checkpoint, tmp_path / "out")
    assert os.listdir(tmp_path) == ["tmp"]
    path = re.search(r"log: (.*)\)", str(caught.value))
    assert path is not None
    assert Path(path[1]).parent == own_temporary_directory
    assert "[torch.onnx]" in Path(path[1]).read_text()


@pytest.mark.usefixtures("wrong_graph")
def test_force_writes_it_and_the_manifest_says_so(checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "out", force=True)
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["fp32"].parity
    assert parity is not None
    assert not parity.passed
    assert parity.max_abs_diff["logits"] == pytest.approx(0.5, abs=1e-3)
    assert "written by force" in (bundle.path / "README.md").read_text()


def test_a_quantized_variant_that_misses_its_bound(checkpoint: Path, tmp_path: Path) -> None:
    """It is left out, and the others are written."""
    figure = r"int8 misses its bound: agreement 9\d\.\d % \(bound: .* at least 100 %\)"
    hint = r"Try a longer repair \(budget=, --budget\), another dtype"
    with pytest.raises(ParityError, match=rf"^{figure}; fp32 written without it\. {hint}.*--force") as caught:
        export(checkpoint, tmp_path / "out", dtypes=("int8", "fp32"), max_drop=0, budget=0)
    bundle = Bundle.load(tmp_path / "out")
    assert caught.value.bundle.path == bundle.path
    assert (bundle.dtypes, bundle.default_dtype) == (("fp32",), "fp32")
    assert bundle.check()
    assert sorted(os.listdir(bundle.path / "onnx")) == ["model.onnx", "model.onnx_data"]
    named = json.loads((bundle.path / "config.json").read_text(encoding="utf-8"))["transformers.js_config"]
    assert (named["dtype"], named["use_external_data_format"]) == ("fp32", {"model.onnx": 1})
    assert "int8" not in json.loads((bundle.path / "edgepipe_report.json").read_text(encoding="utf-8"))["variants"]


def test_where_none_that_was_asked_for_passes_nothing_is_written(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"int8 misses its bound: .*; nothing was written\. Try") as caught:
        export(checkpoint, tmp_path / "out", dtypes=("int8",), max_drop=0, budget=0)
    assert caught.value.bundle is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("target", "prefer", "said"),
    [
        ("elsewhere", "speed", "cannot be measured on this machine: layers go up to the precision"),
        ("elsewhere", "size", ""),
        ("this", "speed", "with all products an input takes "),
        ("this", "size", ""),
    ],
    ids=["not here", "size elsewhere", "weighed", "size here"],
)
def test_a_repair_says_whether_it_weighed_time(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], target: str, prefer: str, said: str
) -> None:
    if target == "elsewhere":
        target = next(name for name in CPU_TARGETS if name != find_target().name)
    options = {"target": target, "prefer": prefer, "budget": 30 if target == "this" else 0}
    with suppress(ParityError):
        export(checkpoint, tmp_path / "out", dtypes=("fp32", "int8"), max_drop=0, progress=True, **options)
    told = capfd.readouterr().err
    notes = [line for line in told.splitlines() if "cannot be measured" in line or "with all products" in line]
    assert len(notes) == bool(said)
    assert said in "".join(notes)


@pytest.mark.parametrize("verify", [True, False])
def test_a_variant_that_its_recipe_finds_wrong_is_left_out(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    def overflow(*_: object, **__: object) -> None:
        (tmp_path.glob(".out.*/onnx").__next__() / "model_int8.onnx").write_bytes(b"half made")
        raise ParityError("not finite")

    monkeypatch.setattr(variants, "quantize", overflow)
    with pytest.raises(ParityError, match=r"^int8 misses its bound: not finite; fp32 written without it\. Try another"):
        export(checkpoint, tmp_path / "out", dtypes=("fp32", "int8"), verify=verify)
    bundle = Bundle.load(tmp_path / "out")
    assert bundle.check()
    assert sorted(os.listdir(bundle.path / "onnx")) == ["model.onnx", "model.onnx_data"]


def test_the_command_shows_what_was_written_and_ends_with_1(checkpoint: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    options = ["--dtype", "fp32,int8", "--max-drop", "0", "--budget", "0", "--json", "--quiet", "--report", str(page)]
    command = [sys.executable, "-m", "edgepipe", "export", str(checkpoint), str(tmp_path / "out"), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 1, run.stderr
    assert [variant["dtype"] for variant in json.loads(run.stdout)["variants"]] == ["fp32"]
    assert re.fullmatch(r"Error: int8 misses its bound: .*; fp32 written without it\. Try .*\n", run.stderr)
    assert page.is_file()


@pytest.mark.usefixtures("fresh_trace")
def test_nothing_is_printed_when_piped(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(checkpoint, tmp_path / "out", verify=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("fresh_trace")
def test_stages_are_shown_and_the_log_is_gone(
    checkpoint: Path, tmp_path: Path, own_temporary_directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export(checkpoint, tmp_path / "out", verify=False, progress=True)
    output, error = capfd.readouterr()
    assert output == ""
    assert re.findall(r"^  (\w+) +\d+\.\d s$", error, re.MULTILINE) == ["resolve", "load", "trace", "write"]
    assert os.listdir(own_temporary_directory) == []


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("as if the quantizer failed")


@pytest.mark.parametrize("stage", ["_trace", "quantize", "_finish"])
@pytest.mark.parametrize(("stop", "error"), [(interrupt, KeyboardInterrupt), (fail, ExportError)])
def test_whatever_stops_an_export_leaves_nothing(
    checkpoint: Path,
    tmp_path: Path,
    own_temporary_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    stop: Callable[..., None],
    error: type[BaseException],
) -> None:
    if stage != "_trace":  # stop after the trace, without tracing again and again
        monkeypatch.setattr(export_module, "_trace", lambda *_: (("model",), {"name": "fp32"}))
        monkeypatch.setattr(export_module, "_prepare_data", lambda *_: measure_all(Dataset(("one",), None, "made")))
        monkeypatch.setattr(variants.Workspace, "calibrates", lambda *_: False)
    if stage == "_finish":
        monkeypatch.setattr(variants, "quantize", lambda *_, **__: {"name": "int8"})
    monkeypatch.setattr(variants if stage == "quantize" else export_module, stage, stop)
    with pytest.raises(error):
        export(checkpoint, tmp_path / "out", dtypes=("fp32", "int8"), verify=False)
    assert os.listdir(tmp_path) == ["tmp"]
    if error is KeyboardInterrupt:
        assert os.listdir(own_temporary_directory) == []


def wait_for_an_export(folder: Path) -> None:
    """Until an export into ``out`` has begun to write."""
    deadline = time.monotonic() + PATIENCE
    while not list(folder.glob(".out.*/tokenizer.json")):
        assert time.monotonic() < deadline, "the export has not begun to write"
        time.sleep(0.05)


def test_an_interrupt_from_outside(checkpoint: Path, tmp_path: Path) -> None:
    code = "import sys; from edgepipe_export import export; export(sys.argv[1], sys.argv[2], dtypes='fp32,int8')"
    # A shell that runs in the background may have its children ignore interrupts.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + code
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", code, str(checkpoint), str(out)], stderr=subprocess.DEVNULL)
    wait_for_an_export(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) != 0
    assert os.listdir(tmp_path) == []


def test_a_command_that_is_told_to_end(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgepipe", "export", str(checkpoint), str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for_an_export(tmp_path)
    process.terminate()
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert told.splitlines()[-1] == "terminated"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtypes": ("fp32", "int4")}, InputError, "'int4'; there is fp32, int8"),
        ({"target": "riscv"}, InputError, "riscv"),
        ({"opset": 3}, InputError, "opset must be from"),
        ({"opset": "18"}, InputError, "opset must be from"),
        ({"max_drop": -1}, InputError, "max_drop"),
        ({"calibration": "no/such/texts.txt"}, InputError, r"texts\.txt is not there; name the file"),
        ({"calibration": Path(__file__).parent}, InputError, "export is a directory; name the file"),
    ],
)
def test_wrong_options_are_reported_first(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        export("no/such/checkpoint/anywhere", tmp_path / "out", **options)


def test_a_checkpoint_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        export("./not/here", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_missing_parent_is_reported_first(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not a directory"):
        export(checkpoint, tmp_path / "not" / "here")


def test_a_missing_package(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "no-such-package", "no_such_package")
    monkeypatch.setitem(PACKAGES, "transformers", "transformers.no_such_module")
    with pytest.raises(DependencyError, match=r"a newer transformers \(found 5.*no-such-package.*edgepipe\[export\]"):
        export(checkpoint, tmp_path / "out")


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, edgepipe_export; print([m for m in ('torch', 'transformers', 'onnxruntime') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_card(exported: Bundle, tmp_path: Path) -> None:
    card = (exported.path / "README.md").read_text()
    assert card.startswith('---\npipeline_tag: "text-classification"\nlibrary_name: "edgepipe"\n')
    assert "`bad`, `fair`, `good`" in card
    assert re.search(rf"\| fp32 \| 0\.2 MB \| pytorch-fp32, {len(sentences())} texts \|.*\| held \|", card)
    assert "at most 64 tokens" in card
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- a\n---\n# Card\nlicense: mit\n")
    original = read_source_card(tmp_path)
    assert original == SourceCard("apache-2.0", "# Card\nlicense: mit")
    assert read_source_card(tmp_path / "no") == read_source_card(None) == SourceCard()
    assert exported.manifest is not None
    whole = render_model_card(exported.manifest, original)
    assert 'license: "apache-2.0"' in whole
    assert "# Card\nlicense: mit" in whole


def test_an_altered_bundle_is_not_taken_for_a_good_one(copied: Path) -> None:
    weights = copied / "onnx" / "model.onnx_data"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match="truncated or altered"):
        Bundle.load(copied)


def test_a_real_checkpoint(minilm_sst2_bundle: Bundle) -> None:
    bundle = minilm_sst2_bundle
    assert bundle.manifest is not None
    sizes = {dtype: variant.bytes for dtype, variant in bundle.manifest.variants.items()}
    assert sizes["fp32"] == pytest.approx(90.9e6, rel=0.01)
    assert sizes["int8"] == pytest.approx(sizes["fp32"] / 4, rel=0.1)  # more where layers were repaired
    classify = pipeline("text-classification", bundle, dtype="int8")
    assert classify("I love this")[0]["label"] == "POSITIVE"
    assert classify("What a waste of time.")[0]["label"] == "NEGATIVE"
