"""Faults that a bundle's probes have to catch, each injected into a bundle whose digests fit; and no false alarm."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle, check, pipeline
from edgepipe.backend.machine import saturates
from edgepipe.checking.bundle_check import BundleCheck, VariantCheck
from edgepipe_export import export
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.probes.recording import write_probes
from tests.export import injected_faults as faults
from tests.runtime.probed_bundle import sign
from tests.tiny import TOKENIZERS, build
from tests.tiny.generation import export_generative

DTYPES = ("fp32", "int8", "w8", "fp16")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny BERT in four variants."""
    folder = tmp_path_factory.mktemp("made")
    build("bert", directory=folder / "tiny", labels=("bad", "fair", "good"), hidden_size=64, gain=1.0)
    return export(folder / "tiny", folder / "bundle", dtypes=DTYPES, verify=False)


@pytest.fixture
def folder(made: Bundle, tmp_path: Path) -> Path:
    """A copy to put a fault into."""
    return Path(shutil.copytree(made.path, tmp_path / "bundle"))


def found(folder: Path, dtype: str) -> VariantCheck:
    """The check of one variant; no file may be what tells."""
    result = check(folder, dtype=dtype)
    assert result.altered == ()
    [variant] = result.variants
    assert result.passed == (variant.passed is not False)
    return variant


def assert_all_pass(result: BundleCheck) -> None:
    assert [(each.dtype, each.passed, each.cause) for each in result.variants if not each.passed] == []
    assert result.passed


def move_elsewhere(folder: Path) -> None:
    """Have the probes be recorded on another processor."""

    def change(record: dict[str, Any]) -> None:
        for machine in record["machines"].values():
            machine["instructions"] = ["avx2", "avx512_vnni"]

    faults.edit_json(folder / "edgepipe_probes.json", change)
    sign(folder)


@pytest.mark.parametrize("threads", [1, 2])
def test_no_false_alarm(made: Bundle, threads: int) -> None:
    assert_all_pass(check(made, num_threads=threads))


def test_no_false_alarm_on_another_engine(made: Bundle) -> None:
    pytest.importorskip("openvino")
    result = check(made, device="openvino")
    assert {each.dtype for each in result.variants} >= {"fp32", "w8"}
    # int8 is for onnxruntime: there OpenVINO rounds activations otherwise, and may be farther from fp32.
    assert [each.dtype for each in result.variants if each.passed is False and each.dtype != "int8"] == []


@pytest.mark.parametrize(
    ("dtype", "change", "cause"),
    [
        pytest.param("fp32", faults.swap_layers, "computes something else", id="swapped_layers"),
        pytest.param("fp32", faults.make_nan, "computes what is no number", id="nan"),
        pytest.param("int8", faults.make_nan, "computes what is no number", id="nan_in_int8"),
        pytest.param("fp16", faults.overflow, "fp16 overflows here", id="fp16_overflow"),
        pytest.param("fp32", faults.fuse_wrongly, "computes something else", id="wrong_fusion"),
        pytest.param("int8", faults.fuse_wrongly, "", id="wrong_fusion_in_int8"),
    ],
)
def test_a_graph_that_computes_something_else(
    folder: Path, dtype: str, change: Callable[..., None], cause: str
) -> None:
    faults.edit_graph(folder, dtype, change)
    variant = found(folder, dtype)
    assert variant.passed is False
    assert cause in str(variant.cause)
    others = [name for name in DTYPES if name != dtype]
    assert all(found(folder, name).passed for name in others)


def decide(folder: Path, dtype: str) -> list[str]:
    """The labels of many texts."""
    classify: Any = pipeline(model=folder, dtype=dtype, verify="never")
    return [result["label"] for result in classify(list(sentences()[:60]))]


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_flipped_bits_that_change_a_decision(made: Bundle, tmp_path: Path, dtype: str) -> None:
    generator = np.random.default_rng(7)
    before, changed, caught = decide(made.path, dtype), 0, 0
    for number in range(24):
        folder = Path(shutil.copytree(made.path, tmp_path / f"{dtype}{number}"))
        bit = int(generator.integers(20, 31))
        faults.edit_graph(folder, dtype, lambda _, weights: str(faults.flip_bit(weights, generator, bit)))  # noqa: B023
        try:
            same = decide(folder, dtype) == before
        except Exception:  # noqa: BLE001 - what is not finite is no result
            same = False
        if not same:
            changed += 1
            caught += found(folder, dtype).passed is False
        shutil.rmtree(folder)
    assert changed >= 3, "too few of these bits decide anything"
    assert caught == changed


def test_a_digest_finds_any_bit(folder: Path) -> None:
    path = folder / "onnx" / "model_w8.onnx_data"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = check(folder)
    assert not result.passed
    assert any("model_w8.onnx_data was altered" in line for line in result.altered)


def test_swapped_variants(folder: Path) -> None:
    faults.swap_variants(folder, "int8", "w8")
    assert "the files of w8 give what int8 gave" in str(found(folder, "w8").cause)
    assert "the files of int8 give what w8 gave" in str(found(folder, "int8").cause)


def test_swapped_variants_on_another_processor(folder: Path) -> None:
    """There outputs need not be the same, and one 8-bit variant is about as far from fp32 as the other."""
    move_elsewhere(folder)
    assert_all_pass(check(folder))
    faults.swap_variants(folder, "int8", "w8")
    assert "the files of w8 give what int8 gave" in str(found(folder, "w8").cause)
    assert "the files of int8 give what w8 gave" in str(found(folder, "int8").cause)


def test_swapped_variants_on_another_engine(folder: Path) -> None:
    pytest.importorskip("openvino")
    faults.swap_variants(folder, "fp32", "w8")
    causes = {each.dtype: str(each.cause) for each in check(folder, device="openvino").variants}
    assert "the files of w8 give what fp32 gave" in causes["w8"]
    # OpenVINO rounds no activations, so that w8 does not give there what it gave.
    assert "computes something else" in causes["fp32"]


def test_another_tokenizer_of_the_family(folder: Path) -> None:
    shutil.copy(TOKENIZERS / "distilbert" / "tokenizer.json", folder / "tokenizer.json")
    sign(folder)
    assert "the tokenizer is not the one" in str(found(folder, "fp32").cause)


def test_an_altered_normalizer(folder: Path) -> None:
    def keep_case(record: dict[str, Any]) -> None:
        record["normalizer"]["lowercase"] = not record["normalizer"]["lowercase"]

    faults.edit_json(folder / "tokenizer.json", keep_case)
    sign(folder)
    assert "the tokenizer is not the one" in str(found(folder, "fp32").cause)


def test_a_changed_order_of_labels(folder: Path) -> None:
    def turn(record: dict[str, Any]) -> None:
        record["id2label"] = dict(zip("012", ("good", "fair", "bad"), strict=True))

    faults.edit_json(folder / "config.json", turn)
    sign(folder)
    assert "the same outputs give other results" in str(found(folder, "fp32").cause)


def test_products_that_saturate(made: Bundle, tmp_path: Path) -> None:
    """With weights of all 8 bits, as for a processor with VNNI, on one that adds pairs of products in 16 bits."""
    bundle = export(made.path.parent / "tiny", tmp_path / "wide", dtypes=("fp32", "int8"), target="vnni", verify=False)
    faults.edit_graph(bundle.path, "int8", partial(faults.saturate, bits=32))
    write_probes(bundle.path, Bundle.load(bundle.path), bundle.dtypes)
    move_elsewhere(bundle.path)
    assert found(bundle.path, "int8").passed
    faults.edit_graph(bundle.path, "int8", faults.cut_pairs)
    variant = found(bundle.path, "int8")
    assert variant.passed is False
    assert ("sums of 8-bit products overflow" in str(variant.cause)) == saturates()


def test_wrong_pooling(tmp_path: Path) -> None:
    transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules

    build("bert", directory=tmp_path / "tiny", task="feature-extraction")
    parts = [modules.Transformer(str(tmp_path / "tiny")), modules.Pooling(32, "mean"), modules.Normalize()]
    transformers.SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "encoder"))
    bundle = export(tmp_path / "encoder", tmp_path / "bundle", verify=False)
    assert_all_pass(check(bundle))

    def take_first(record: dict[str, Any]) -> None:
        record.update({name: value for name, value in {"pooling_mode": "cls"}.items() if name in record})
        if "pooling_mode_mean_tokens" in record:
            record.update({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True})

    faults.edit_json(bundle.path / "1_Pooling" / "config.json", take_first)
    sign(bundle.path)
    assert "pooling or another module" in str(found(bundle.path, "fp32").cause)


@pytest.mark.parametrize(("family", "graph"), [("gpt2", "model"), ("t5", "decoder_model_merged")])
def test_a_cache_that_is_one_row_off(family: str, graph: str, tmp_path: Path) -> None:
    bundle = export_generative(family, tmp_path)[2]
    assert_all_pass(check(bundle))
    faults.edit_graph(bundle.path, "fp32", faults.shift_cache, graph)
    assert found(bundle.path, "fp32").passed is False
