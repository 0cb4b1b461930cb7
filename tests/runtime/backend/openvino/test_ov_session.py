"""Sessions of OpenVINO: what they compute and declare, in which precision, and what they refuse."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Model
from edgepipe.backend.engines import create_session, device_profile
from edgepipe.backend.openvino import ov_session
from edgepipe.backend.openvino.ov_module import CPU, load_core
from edgepipe.backend.openvino.ov_session import compile_options
from edgepipe.backend.session import SessionConfig
from edgepipe.backend.threads import available_threads
from edgepipe.bundle.manifest import Parity
from edgepipe.errors import BundleError, ClosedError, DeviceError, InputError, VariantError
from edgepipe.models.variants import choose_variant, open_bundle
from tests.runtime.models.decoder.small_decoders import causal_bundle
from tests.runtime.small_bundle import expected_logits, record_precision, rewrite_manifest, write_bundle, write_graph

HERE = SessionConfig("openvino")
IDS = np.array([[2, 30, 31, 3], [2, 7, 3, 0]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
FEEDS = {"input_ids": IDS, "attention_mask": MASK}


def capabilities() -> list[str]:
    found: list[str] = load_core().get_property(CPU, "OPTIMIZATION_CAPABILITIES")
    return found


def note_options(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What graphs are compiled with from now on, in a list that grows."""
    asked: list[dict[str, Any]] = []
    load = ov_session.load_compiled

    def load_and_note(graph: Path, options: dict[str, Any], compile_graph: Any) -> Any:
        asked.append(options)
        return load(graph, options, compile_graph)

    monkeypatch.setattr(ov_session, "load_compiled", load_and_note)
    return asked


def test_a_session(graph: Path) -> None:
    session = create_session(graph, HERE)
    assert session.inputs == {"input_ids": "int64", "attention_mask": "int64"}
    assert session.input_shapes == {name: [None, None] for name in FEEDS}
    assert (session.outputs, session.output_dtypes) == (("logits",), {"logits": "float32"})
    assert session.output_shapes == {"logits": [None, 3]}
    assert (str(session.device_spec), session.providers, session.on_cpu) == ("openvino", ["OpenVINO"], True)
    np.testing.assert_allclose(session.run(FEEDS)["logits"], expected_logits("fp32", IDS, MASK), rtol=1e-5)


@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (3, 16), (2, 5), (5, 2)])
def test_shapes_that_vary(rows: int, tokens: int, graph: Path) -> None:
    session = create_session(graph, HERE)
    for more in (0, 1, 0):
        ids = np.arange(rows * (tokens + more)).reshape(rows, -1)
        found = session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
        np.testing.assert_allclose(found, expected_logits("fp32", ids), rtol=1e-4, atol=1e-5)


def test_results_stay_as_they_are_after_the_next_run(graph: Path) -> None:
    session = create_session(graph, HERE)
    first = session.run(FEEDS)["logits"]
    kept = first.copy()
    session.run({"input_ids": IDS + 1, "attention_mask": MASK})
    np.testing.assert_array_equal(first, kept)


def test_calls_from_several_threads(graph: Path) -> None:
    session, wrong = create_session(graph, HERE), []

    def work(shift: int) -> None:
        for _ in range(20):
            found = session.run({"input_ids": IDS + shift, "attention_mask": MASK})["logits"]
            if not np.allclose(found, expected_logits("fp32", IDS + shift, MASK), rtol=1e-4, atol=1e-5):
                wrong.append(shift)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("feeds", [{}, {"input_ids": IDS}, {**FEEDS, "token_type_ids": IDS}])
def test_other_inputs_than_it_reads(feeds: dict[str, Any], graph: Path) -> None:
    # OpenVINO would go on with what an earlier run was given.
    session = create_session(graph, HERE)
    session.run(FEEDS)
    with pytest.raises(BundleError, match="it reads input_ids, attention_mask, and was given"):
        session.run(feeds)


def test_a_run_that_fails_leaves_the_session_as_it_is(graph: Path) -> None:
    session = create_session(graph, HERE)
    with pytest.raises(BundleError, match=r"the graph failed on input_ids \(2, 4\) int64, attention_mask \(2, 3\)"):
        session.run({"input_ids": IDS, "attention_mask": MASK[:, :3]})
    np.testing.assert_allclose(session.run(FEEDS)["logits"], expected_logits("fp32", IDS, MASK), rtol=1e-5)


def test_a_closed_session(graph: Path) -> None:
    session = create_session(graph, HERE)
    session.close()
    assert session.closed
    for call in (lambda: session.run(FEEDS), session.bind):
        with pytest.raises(ClosedError, match="was closed"):
            call()


def test_threads(graph: Path) -> None:
    assert create_session(graph, HERE).num_threads == available_threads()
    assert create_session(graph, SessionConfig("openvino", num_threads=1)).num_threads == 1
    assert create_session(graph, SessionConfig("openvino", num_threads=1, workers=2)).num_threads == 1


def test_workers_are_streams_with_threads_of_their_own() -> None:
    options = compile_options(SessionConfig("openvino", num_threads=2, workers=3))
    assert (options["NUM_STREAMS"], options["INFERENCE_NUM_THREADS"]) == (3, 6)


def test_fp32_is_exactly_that_and_nothing_is_rounded_unasked() -> None:
    options = compile_options(HERE)
    assert options["INFERENCE_PRECISION_HINT"] == "f32"
    assert (options["DYNAMIC_QUANTIZATION_GROUP_SIZE"], options["KV_CACHE_PRECISION"]) == (0, "f32")


def test_activations_are_rounded_where_the_recipe_and_the_processor_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for saturating, expected in ((False, 32), (True, 0)):
        monkeypatch.setattr(ov_session, "saturates", lambda saturating=saturating: saturating)
        options = compile_options(SessionConfig("openvino", activation_block=32))
        assert options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == expected


def test_bf16_where_the_processor_has_it(tmp_path: Path) -> None:
    config = SessionConfig("openvino", precision="bf16")
    if "BF16" in load_core().get_property(CPU, "OPTIMIZATION_CAPABILITIES"):
        assert compile_options(config)["INFERENCE_PRECISION_HINT"] == "bf16"
    else:
        with pytest.raises(DeviceError, match="no instructions for bf16"):
            compile_options(config)


def test_the_rest_of_a_quantized_graph_in_bf16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config, has_it = SessionConfig("openvino", rest="bf16"), "BF16" in capabilities()
    assert compile_options(config)["INFERENCE_PRECISION_HINT"] == ("bf16" if has_it else "f32")
    monkeypatch.setattr(ov_session, "_has_bf16", lambda: False)
    assert compile_options(config)["INFERENCE_PRECISION_HINT"] == "f32"


@pytest.mark.parametrize(("recipe", "hint"), [({}, "f32"), ({"rest": "bf16"}, "bf16"), ({"rest": "fp32"}, "f32")])
def test_a_variant_is_computed_as_it_was_measured(
    recipe: dict[str, str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "BF16" not in capabilities():
        pytest.skip("this processor has no bf16")
    folder = write_bundle(tmp_path / "bundle", ("fp32", "int8-static"))
    record = json.loads((folder / "edgepipe.json").read_text())
    record["variants"]["int8-static"]["recipe"] |= recipe
    rewrite_manifest(folder, record)
    asked = note_options(monkeypatch)
    bundle = open_bundle(folder, "int8-static", HERE)
    assert Model(bundle, "fp32", HERE).dtype == "fp32"
    with pytest.warns(UserWarning, match="nobody has measured int8-static"):
        Model(bundle, "int8-static", HERE)
    assert [options["INFERENCE_PRECISION_HINT"] for options in asked] == ["f32", hint]


@pytest.mark.parametrize(
    ("recipe", "block"),
    [
        pytest.param({"block_size": 32, "accuracy_level": 4}, 32, id="in-8-bits"),
        pytest.param({"block_size": 32, "accuracy_level": 1}, 0, id="in-fp32"),
        pytest.param({"block_size": "32", "accuracy_level": 4}, 0, id="no-number"),
        pytest.param({}, 0, id="says-nothing"),
    ],
)
def test_activations_are_rounded_in_the_blocks_of_the_recipe(
    recipe: dict[str, Any], block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ov_session, "saturates", lambda: False)
    folder = write_bundle(tmp_path / "bundle", ("fp32", "w8"))
    record = json.loads((folder / "edgepipe.json").read_text())
    record["variants"]["w8"]["recipe"] = {"name": "w8", **recipe}
    rewrite_manifest(folder, record)
    asked = note_options(monkeypatch)
    bundle = open_bundle(folder, "w8", HERE)
    with pytest.warns(UserWarning, match="nobody has measured w8"):
        Model(bundle, "w8", HERE)
    Model(bundle, "fp32", HERE)
    assert [options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] for options in asked] == [block, 0]


def test_logits_of_the_last_token_alone(tmp_path: Path) -> None:
    bundle = causal_bundle(tmp_path)
    path = bundle.graph("fp32")
    here, there = create_session(path), create_session(path, HERE)
    assert here.optional_inputs == there.optional_inputs == {"num_logits_to_keep": "int64"}
    assert there.inputs == here.inputs
    feeds: dict[str, Any] = {
        name: np.zeros([1 if isinstance(size, str) else size or 1 for size in here.input_shapes[name]], dtype)
        for name, dtype in here.inputs.items()
    }
    for name in feeds:
        if name.startswith("past"):
            feeds[name] = feeds[name][:, :, :0]
    feeds |= {name: np.ones((1, 5), np.int64) for name in ("input_ids", "attention_mask")}
    if "position_ids" in feeds:
        feeds["position_ids"] = np.arange(5)[None]
    for keep, count in (({}, 5), ({"num_logits_to_keep": np.array(1)}, 1), ({}, 5)):
        found = there.run({**feeds, **keep})["logits"]
        assert found.shape[1] == count
        np.testing.assert_allclose(found, here.run({**feeds, **keep})["logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", ["openvino:GPU", "openvino:", "openvino:0"])
def test_other_devices_of_openvino_have_not_been_tried(device: str, folder: Path) -> None:
    with pytest.raises(InputError, match="OpenVINO runs on the processor here: device must be 'openvino', got"):
        Model.from_pretrained(folder, device=device)


@pytest.mark.parametrize("options", [{"low_memory": True}, {"session_options": object()}, {"buckets": [(1, 8)]}])
def test_options_of_onnxruntime(options: dict[str, Any], folder: Path) -> None:
    with pytest.raises(InputError, match=f"device='openvino' has no {next(iter(options))}: leave that out"):
        Model.from_pretrained(folder, device="openvino", **options)


def test_fp32_is_taken_where_nobody_says_otherwise(folder: Path) -> None:
    model = Model.from_pretrained(folder, device="openvino")
    assert model.dtype == "fp32"
    np.testing.assert_allclose(model(**FEEDS)["logits"], expected_logits("fp32", IDS, MASK), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "fp16", "bf16"])
def test_a_variant_that_nobody_has_measured_there(dtype: str, folder: Path) -> None:
    bundle = open_bundle(folder, dtype, HERE)
    with pytest.warns(UserWarning, match=f"nobody has measured {dtype} on OpenVINO.* --device openvino"):
        assert choose_variant(bundle, dtype, HERE) == dtype


def test_the_only_variant_is_taken_with_a_warning(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ("int8",))
    with pytest.warns(UserWarning, match="nobody has measured int8 on OpenVINO"):
        assert Model.from_pretrained(folder, device="openvino").dtype == "int8"


def test_bf16_reads_the_file_of_fp32(folder: Path) -> None:
    if "BF16" not in load_core().get_property(CPU, "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16")
    with pytest.warns(UserWarning, match="nobody has measured bf16"):
        model = Model.from_pretrained(folder, dtype="bf16", device="openvino")
    assert model.dtype == "bf16"
    expected = expected_logits("fp32", IDS, MASK)
    found = model(**FEEDS)["logits"]
    assert 0 <= np.abs(found - expected).max() < 2.0**-7 * np.abs(expected).max() * IDS.shape[1]


@pytest.mark.parametrize(("passed", "warned"), [(True, []), (False, ["nobody has measured bf16"])])
def test_bf16_that_the_gate_has_passed_is_served_without_a_warning(
    passed: bool, warned: list[str], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder = write_bundle(tmp_path / "bundle", ("fp32", "int8"))
    record_precision(folder, "bf16", Parity("fp32", 100, {}, None, 1.0, "bound", passed, device="openvino"))
    assert choose_variant(open_bundle(folder, "bf16", HERE), "bf16", HERE) == "bf16"
    told = [str(each.message) for each in recwarn]
    assert [part for part in warned if any(part in message for message in told)] == warned
    assert len(told) == len(warned)
    assert choose_variant(open_bundle(folder, None, HERE), None, HERE) == "fp32"


def test_bf16_is_taken_unasked_where_it_is_the_bundle_s_default(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    record_precision(folder, "bf16", Parity("fp32", 100, {}, None, 1.0, "", True, device="openvino"), default=True)
    assert choose_variant(open_bundle(folder, None, HERE), None, HERE) == "bf16"
    assert Model.from_pretrained(folder).dtype == "fp32"


def test_bf16_is_a_variant_on_this_device_alone(folder: Path) -> None:
    assert device_profile(SessionConfig()).precisions == {}
    with pytest.raises(VariantError, match="cannot give dtype 'bf16'"):
        Model.from_pretrained(folder, dtype="bf16")


def test_weights_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx")
    (tmp_path / "model.onnx_data").rename(tmp_path.parent / "elsewhere")
    (tmp_path / "model.onnx_data").symlink_to(tmp_path.parent / "elsewhere")
    with pytest.raises(BundleError, match="not within"):
        create_session(tmp_path / "model.onnx", HERE)
