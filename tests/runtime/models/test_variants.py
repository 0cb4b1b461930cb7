"""Which variant a device loads: by the names alone, no GPU is asked."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgepipe import Bundle, Model, pipeline
from edgepipe.backend.onnxruntime.ort_module import load_ort
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.layout import SUFFIXES
from edgepipe.bundle.manifest import Manifest, Parity
from edgepipe.errors import DependencyError, DeviceError, KernelError
from edgepipe.models.variants import choose_variant, list_substitutes
from tests.runtime.small_bundle import rewrite_manifest, write_bundle

CUDA = [
    SessionConfig(device="cuda"),
    SessionConfig(device=1),
    SessionConfig(providers=["CUDAExecutionProvider", "CPUExecutionProvider"]),
    SessionConfig(providers=[("CUDAExecutionProvider", {"use_tf32": 1})]),
]
ELSEWHERE = [None, SessionConfig(), SessionConfig(device="cpu"), SessionConfig(providers=["CPUExecutionProvider"])]


def bundle_of(folder: Path, *dtypes: str, cache: str | None = None) -> Bundle:
    write_bundle(folder, dtypes)
    if cache is not None:
        manifest = json.loads((folder / "edgepipe.json").read_text())
        for variant in manifest["variants"].values():
            variant["recipe"]["cache"] = cache
        rewrite_manifest(folder, manifest)
    return Bundle.load(folder)


@pytest.mark.parametrize("session", CUDA)
@pytest.mark.parametrize(
    ("dtypes", "chosen"),
    [
        (("int8", "fp32", "fp16"), "fp16"),
        (("int8", "fp32"), "fp32"),
        (("int8", "q4", "w8"), "w8"),
        (("q4f16", "w8"), "q4f16"),
    ],
)
def test_a_gpu_has_a_choice_of_its_own(session: SessionConfig, dtypes: Any, chosen: str, tmp_path: Path) -> None:
    assert choose_variant(bundle_of(tmp_path / "bundle", *dtypes), None, session) == chosen


@pytest.mark.parametrize("session", ELSEWHERE)
def test_elsewhere_the_bundle_s_default_is_taken(session: SessionConfig | None, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", "int8", "fp32", "fp16")
    assert choose_variant(bundle, None, session) == "int8"
    assert choose_variant(bundle, "fp16", session) == "fp16"


@pytest.mark.parametrize("dtype", ["int8", "int8-rows", "int8-static", "q8", "uint8"])
def test_what_has_no_kernels_is_refused(dtype: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", dtype, "fp32")
    with pytest.raises(DeviceError, match=rf"no CUDA kernels for {dtype}, .*take dtype='fp32', or device=\"cpu\""):
        choose_variant(bundle, dtype, CUDA[0])


def test_a_bundle_without_anything_for_a_gpu(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", "int8", "uint8")
    with pytest.raises(
        DeviceError, match=r"no CUDA kernels for int8, uint8, .*export the checkpoint with --dtype fp16"
    ):
        choose_variant(bundle, None, CUDA[0])


def test_every_dtype_is_for_a_gpu_or_refused_there(tmp_path: Path) -> None:
    for dtype in SUFFIXES:
        bundle = bundle_of(tmp_path / dtype, dtype)
        try:
            assert choose_variant(bundle, dtype, CUDA[0]) == dtype
            assert choose_variant(bundle, None, CUDA[0]) == dtype
        except DeviceError:
            assert dtype in ("int8", "int8-rows", "int8-static", "w8-rows", "q4-rows", "q8", "uint8")


def test_attention_that_a_gpu_cannot_do_is_said(tmp_path: Path) -> None:
    shared = bundle_of(tmp_path / "shared", "fp32", cache="shared")
    with pytest.warns(UserWarning, match="attention of fp32 has no CUDA kernel .*--target cuda"):
        assert choose_variant(shared, None, CUDA[0]) == "fp32"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_variant(shared, None, ELSEWHERE[2]) == "fp32"
        assert choose_variant(bundle_of(tmp_path / "other", "fp32", cache="concatenated"), None, CUDA[0]) == "fp32"


def made_by(folder: Path, recipe: dict[str, Any]) -> Bundle:
    """A bundle whose int8 variant has a recipe."""
    write_bundle(folder, ("fp32", "int8", "w8"))
    manifest = json.loads((folder / "edgepipe.json").read_text())
    manifest["variants"]["int8"]["recipe"] = recipe
    rewrite_manifest(folder, manifest)
    return Bundle.load(folder)


FULL, REDUCED = {"name": "int8", "reduce_range": False}, {"name": "int8", "reduce_range": True}
OLD_X86 = ("x86_64", frozenset({"avx2", "avx512f"}))


def on_processor(patch: pytest.MonkeyPatch, machine: str, flags: frozenset[str]) -> None:
    patch.setattr("platform.machine", lambda: machine)
    patch.setattr("edgepipe.backend.machine.cpu_flags", lambda: flags)


@pytest.mark.parametrize("recipe", [FULL, {"name": "int8", "graphs": {"encoder_model": REDUCED, "decoder": FULL}}])
@pytest.mark.parametrize(
    "session", [None, SessionConfig(device="cpu"), SessionConfig(providers=["CPUExecutionProvider"])]
)
def test_a_processor_where_8_bits_overflow_is_told(
    recipe: dict[str, Any], session: SessionConfig | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_processor(monkeypatch, *OLD_X86)
    bundle = made_by(tmp_path / "bundle", recipe)
    with pytest.warns(UserWarning, match="int8 was made for another processor.*fp32, w8 can be trusted here.*--target"):
        assert choose_variant(bundle, "int8", session) == "int8"


def test_openvino_overflows_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_processor(monkeypatch, *OLD_X86)
    bundle = made_by(tmp_path / "bundle", FULL)
    with (
        pytest.warns(UserWarning, match="nobody has measured int8 on OpenVINO"),
        pytest.warns(UserWarning, match="export the checkpoint with --target openvino on a processor like it$"),
    ):
        choose_variant(bundle, "int8", SessionConfig("openvino"))


@pytest.mark.parametrize(
    ("processor", "recipe", "dtype", "session"),
    [
        (OLD_X86, REDUCED, "int8", None),
        (OLD_X86, {"name": "int8", "graphs": {"encoder_model": REDUCED}}, "int8", None),
        (OLD_X86, FULL, "w8", None),
        (OLD_X86, FULL, "int8", SessionConfig(providers=["OpenVINOExecutionProvider"])),
        (("x86_64", frozenset({"avx2", "avx_vnni"})), FULL, "int8", None),
        (("aarch64", frozenset({"asimd"})), FULL, "int8", None),
        (("AMD64", frozenset()), FULL, "int8", None),  # Windows does not say
    ],
)
def test_where_nothing_overflows_nothing_is_said(
    processor: tuple[str, frozenset[str]],
    recipe: dict[str, Any],
    dtype: str,
    session: SessionConfig | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_processor(monkeypatch, *processor)
    bundle = made_by(tmp_path / "bundle", recipe)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_variant(bundle, dtype, session) == dtype


def without_kernel(path: Path) -> None:
    """A graph whose operator onnxruntime knows and has for GPUs alone."""
    shapes = {"tokens": [4, 4], "weights": [4, 12], "bias": [12], "offsets": [1, 4], "lengths": [2]}
    kinds = {name: TensorProto.INT32 if name in ("offsets", "lengths") else TensorProto.FLOAT for name in shapes}
    node = helper.make_node("PackedAttention", list(shapes), ["logits"], domain="com.microsoft", num_heads=1)
    inputs = [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]
    graph = helper.make_graph(
        [node], "packed", inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [4, 4])]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def test_a_variant_without_kernels_names_those_that_run(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ("fp32", "q4", "w8", "q4f16"))
    (folder / "edgepipe.json").unlink()  # as another tool made it
    for name in ("model_q4.onnx", "model_q4f16.onnx"):
        without_kernel(folder / "onnx" / name)
    with pytest.raises(
        KernelError, match=r"model_q4\.onnx needs PackedAttention, .*no kernel on CPUExecutionProvider"
    ) as caught:
        Model.from_pretrained(folder, dtype="q4")
    assert str(caught.value).endswith(f"of {folder} fp32, w8 can run there (dtype=, --dtype)")
    for name in ("model.onnx", "model_w8.onnx"):
        (folder / "onnx" / name).unlink()
    with pytest.raises(KernelError, match="no other variant can run there"):
        Model.from_pretrained(folder, dtype="q4")


def measured(folder: Path, *dtypes: str, target: str = "vnni") -> Bundle:
    """A bundle for a target, whose int8 uses all 8 bits and whose variants passed the gate."""
    write_bundle(folder, dtypes)
    path = folder / "edgepipe.json"
    manifest = Manifest.from_json(path.read_text())
    variants = {
        name: replace(each, recipe=FULL if name == "int8" else {}, parity=Parity("fp32", 1, {}, None, None, "", True))
        for name, each in manifest.variants.items()
    }
    path.write_text(replace(manifest, variants=variants, target=target).to_json())
    return Bundle.load(folder)


def test_what_takes_the_default_s_place_on_a_processor_is_said_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_processor(monkeypatch, *OLD_X86)
    bundle = measured(tmp_path / "bundle", "int8", "fp32", "w8")
    said = (
        r"bundle: int8, the bundle's default, fails on this processor: its weights .*; w8 is taken in its place "
        r"\(dtype='int8' takes it all the same\)$"
    )
    with pytest.warns(UserWarning, match=said) as caught:
        assert Model.from_pretrained(bundle.path).dtype == "w8"
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=said) as caught:
        assert pipeline(model=bundle, verify="never").model.dtype == "w8"
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("fp32", "w8"):
            assert choose_variant(bundle, name, None) == name
    with pytest.warns(UserWarning, match="int8 was made for another processor"):
        assert choose_variant(bundle, "int8", None) == "int8", "explicit is explicit"


def test_a_variant_that_is_faster_on_a_processor_is_taken_where_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_processor(monkeypatch, "aarch64", frozenset({"asimd"}))
    bundle = measured(tmp_path / "bundle", "w8", "fp32")
    with pytest.warns(
        UserWarning, match="w8, the bundle's default, was made for vnni, and is slower than fp32 on this"
    ):
        assert choose_variant(bundle, None, None) == "fp32"
    monkeypatch.setattr("edgepipe.models.variants.fits_memory", lambda *_: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_variant(bundle, None, None) == "w8"
        assert choose_variant(measured(tmp_path / "other", "w8", "fp32", target="arm64"), None, None) == "w8"


def test_what_is_tried_in_place_of_a_variant_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = measured(tmp_path / "bundle", "fp32", "int8", "w8", "q4")
    session, openvino = SessionConfig(), SessionConfig("openvino")
    on_processor(monkeypatch, *OLD_X86)
    assert list_substitutes(bundle, session) == ("w8", "q4", "fp32")
    on_processor(monkeypatch, "aarch64", frozenset({"asimd"}))
    assert list_substitutes(bundle, session) == ("int8", "fp32", "q4", "w8")
    assert list_substitutes(bundle, openvino)[0] == "fp32"
    manifest = bundle.manifest
    assert manifest is not None
    refused = replace(manifest.variants["q4"], parity=Parity("fp32", 1, {}, None, None, "", False))
    changed = replace(manifest, variants={**manifest.variants, "q4": refused})
    assert list_substitutes(replace(bundle, manifest=changed), session) == ("int8", "fp32", "w8")
    assert list_substitutes(replace(bundle, manifest=None), session) == ("fp32", "int8", "w8", "q4")


def test_a_cache_in_8_bits_is_refused_where_it_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "bundle", ("w8", "fp32"))
    manifest = json.loads((tmp_path / "bundle" / "edgepipe.json").read_text())
    manifest["variants"]["w8"]["recipe"]["kv_cache"] = {"dtype": "int8"}
    rewrite_manifest(tmp_path / "bundle", manifest)
    Model.from_pretrained(tmp_path / "bundle", dtype="w8").close()
    monkeypatch.setattr(load_ort(), "__version__", "1.26.0")
    with pytest.raises(DependencyError, match=r"bundle: w8 has its cache in 8 bits, which needs onnxruntime 1\.27"):
        Model.from_pretrained(tmp_path / "bundle", dtype="w8")
    Model.from_pretrained(tmp_path / "bundle", dtype="fp32").close()
