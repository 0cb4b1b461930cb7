"""Graphs that name files of others as their weights, by every way there is to name one, and compiled graphs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepipe import pipeline
from edgepipe.backend import external_data
from edgepipe.backend.engines import create_session
from edgepipe.errors import BundleError
from tests.runtime.small_bundle import write_bundle, write_foreign, write_graph

SECRET = np.arange(4, dtype=np.float32)


def external(location: str, *, name: str = "stolen", keys: str = "location") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key=keys, value=location)
    return tensor


def model(*nodes: onnx.NodeProto, initializers: list[TensorProto] = [], **parts: object) -> onnx.ModelProto:  # noqa: B006
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])
    graph = helper.make_graph(list(nodes), "g", [], [output], initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **parts)


def in_the_graph(location: str) -> onnx.ModelProto:
    return model(helper.make_node("Identity", ["stolen"], ["out"]), initializers=[external(location)])


def in_a_node(location: str) -> onnx.ModelProto:
    return model(helper.make_node("Constant", [], ["out"], value=external(location)))


def in_a_subgraph(location: str) -> onnx.ModelProto:
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])
    node = helper.make_node("Identity", ["stolen"], ["inner"])
    branch = helper.make_graph([node], "branch", [], [output], [external(location)])
    truth = numpy_helper.from_array(np.array(True), "truth")
    choice = helper.make_node("If", ["truth"], ["out"], then_branch=branch, else_branch=branch)
    return model(choice, initializers=[truth])


def in_a_function(location: str) -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["y"], value=external(location))
    function = helper.make_function("own", "Steal", [], ["y"], [constant], [helper.make_opsetid("", 18)])
    return model(helper.make_node("Steal", [], ["out"], domain="own"), functions=[function])


def in_a_sparse_tensor(location: str) -> onnx.ModelProto:
    made = in_the_graph("own")
    del made.graph.initializer[:]
    indices = numpy_helper.from_array(np.arange(4), "indices")
    made.graph.sparse_initializer.add(values=external(location), indices=indices, dims=[4])
    return made


def in_a_training_graph(location: str) -> onnx.ModelProto:
    made = model(helper.make_node("Constant", [], ["out"], value=numpy_helper.from_array(SECRET)))
    made.training_info.add(initialization=in_a_node(location).graph)
    return made


WAYS = (in_the_graph, in_a_node, in_a_subgraph, in_a_function, in_a_sparse_tensor, in_a_training_graph)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SECRET.tofile(tmp_path / "secret")
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


@pytest.mark.parametrize("location", ["../secret", "/secret", "a/../../secret", "./../secret", "..", ""])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_outside(folder: Path, way: Callable[[str], onnx.ModelProto], location: str) -> None:
    graph = folder / "model.onnx"
    named = f"{folder.parent}/secret" if location == "/secret" else location
    graph.write_bytes(way(named).SerializeToString())
    with pytest.raises(BundleError, match=r"is not within .*; it was not loaded"):
        create_session(graph)


@pytest.mark.parametrize("way", WAYS)
def test_every_place_of_a_tensor_is_looked_at(folder: Path, way: Callable[[str], onnx.ModelProto]) -> None:
    graph = folder / "model.onnx"
    graph.write_bytes(way("weights").SerializeToString())
    with pytest.raises(BundleError, match="weights is missing"):
        create_session(graph)
    SECRET.tofile(folder / "weights")
    external_data.check_external_data(graph)  # the folder's own file is no harm
    if way in (in_the_graph, in_a_node, in_a_subgraph):
        assert np.array_equal(create_session(graph).run({})["out"], SECRET)


@pytest.mark.parametrize("name", ["*/_ORT_MEM_ADDR_/*", "C:secret", "..\\secret", "se\x00cret", "se\ncret"])
def test_names_that_mean_something_else(folder: Path, name: str) -> None:
    if "\x00" not in name and sys.platform != "win32":
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        SECRET.tofile(folder / name)
    graph = folder / "model.onnx"
    graph.write_bytes(in_the_graph(name).SerializeToString())
    with pytest.raises(BundleError, match="is not within") as caught:
        create_session(graph)
    assert str(caught.value).isprintable()


def compiled(domain: str, **attributes: object) -> onnx.NodeProto:
    """A node as execution providers write it for what they have compiled."""
    told = {"main_context": 1, "source": "OpenVINOExecutionProvider", **attributes}
    return helper.make_node("EPContext", [], ["y"], domain=domain, **told)


def compiled_in_the_graph(node: onnx.NodeProto) -> onnx.ModelProto:
    return model(node, helper.make_node("Identity", ["y"], ["out"]))


def compiled_in_a_subgraph(node: onnx.NodeProto) -> onnx.ModelProto:
    branch = helper.make_graph([node], "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])])
    truth = numpy_helper.from_array(np.array(True), "truth")
    choice = helper.make_node("If", ["truth"], ["out"], then_branch=branch, else_branch=branch)
    return model(choice, initializers=[truth])


def compiled_in_a_function(node: onnx.NodeProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid(domain, 1) for domain in ("com.microsoft", "own")]
    function = helper.make_function("own", "Run", [], ["y"], [node], opsets)
    return model(helper.make_node("Run", [], ["out"], domain="own"), functions=[function])


COMPILED = (compiled_in_the_graph, compiled_in_a_subgraph, compiled_in_a_function)


@pytest.mark.parametrize("domain", ["com.microsoft", "own", ""])
@pytest.mark.parametrize(
    "attributes",
    [
        {"embed_mode": 0, "ep_cache_context": "../secret"},
        {"embed_mode": 0, "ep_cache_context": "/secret"},
        {"embed_mode": 0, "ep_cache_context": "weights"},
        {"embed_mode": 1, "ep_cache_context": b"\x7fELF"},
        {"embed_mode": 1, "ep_cache_context": bytes(100_000)},
        {},
    ],
)
@pytest.mark.parametrize("way", COMPILED)
def test_what_was_compiled_is_refused_wherever_it_is(
    folder: Path, way: Callable[[onnx.NodeProto], onnx.ModelProto], attributes: dict[str, object], domain: str
) -> None:
    graph = folder / "model.onnx"
    graph.write_bytes(way(compiled(domain, **attributes)).SerializeToString())
    with pytest.raises(BundleError, match=r"has a node EPContext: .*It was not loaded"):
        create_session(graph)


def test_every_operator_of_onnxruntime_that_may_hold_what_was_compiled_is_refused(folder: Path) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    # What those attributes are called that hold, or name, something which no other operator knows.
    blobs = {
        schema.name
        for schema in get_all_operator_schema()
        if schema.domain == "com.microsoft" and {"ep_cache_context", "DLC", "notes"} & set(schema.attributes)
    }
    assert {name.encode() for name in blobs} == set(external_data._COMPILED)
    graph = folder / "model.onnx"
    node = helper.make_node("Snpe", [], ["out"], domain="com.microsoft", DLC=b"compiled")
    graph.write_bytes(model(node).SerializeToString())
    with pytest.raises(BundleError, match="has a node Snpe: "):
        create_session(graph)


def test_the_word_alone_compiles_nothing(folder: Path) -> None:
    graph = folder / "model.onnx"
    made = model(helper.make_node("Constant", [], ["out"], name="EPContext", value=numpy_helper.from_array(SECRET)))
    made.doc_string = "EPContext"
    graph.write_bytes(made.SerializeToString())
    assert np.array_equal(create_session(graph).run({})["out"], SECRET)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are Unix's")
def test_a_file_outside_by_a_link(folder: Path) -> None:
    graph = folder / "model.onnx"
    graph.write_bytes(in_the_graph("sub/weights").SerializeToString())
    (folder / "sub").symlink_to(folder.parent, target_is_directory=True)
    SECRET.tofile(folder.parent / "weights")
    with pytest.raises(BundleError, match=r"'sub/weights', a link to .*weights, as a file with its weights"):
        create_session(graph)
    (folder / "sub").unlink()
    (folder / "sub").mkdir()
    os.mkfifo(folder / "sub" / "weights")
    with pytest.raises(BundleError, match="sub/weights is no regular file"):
        create_session(graph)


def varint(value: int, *, wide: bool = False) -> bytes:
    """A number; `wide` writes one byte more than it needs, which readers take all the same."""
    found = bytearray()
    while value > 0x7F or (wide and not found):
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(found) + bytes([value])


def text(number: int, value: bytes, *, wide: bool = False) -> bytes:
    """A field of text, or of a message."""
    return varint(number << 3 | 2, wide=wide) + varint(len(value), wide=wide) + value


OUT, OWN, KEY = b"../secret", b"weights", b"location"


@pytest.mark.parametrize(
    "fields",
    [
        [text(2, OUT), text(1, KEY)],
        [text(1, KEY), text(2, OWN), text(2, OUT)],
        [text(1, KEY), text(2, OUT), text(2, OWN)],
        [text(1, b"offset"), text(1, KEY), text(2, OUT)],
        [text(1, KEY, wide=True), text(2, OUT, wide=True)],
        [text(2, OUT), text(7, b"\x0a\x08"), text(1, KEY)],
        [b"\x38\x05", text(1, KEY), text(2, OUT)],
    ],
)
def test_entries_written_in_other_ways(folder: Path, fields: list[bytes]) -> None:
    SECRET.tofile(folder / "weights")
    tensor = external("own", keys="none").SerializeToString() + text(13, b"".join(fields), wide=True)
    made = model(helper.make_node("Identity", ["stolen"], ["out"])).SerializeToString() + text(7, text(5, tensor))
    read = onnx.ModelProto.FromString(made).graph.initializer[0].external_data[1]  # onnx's own reader takes it
    assert read.key == "location"
    assert read.value in ("../secret", "weights")
    graph = folder / "model.onnx"
    graph.write_bytes(made)
    with pytest.raises(BundleError, match=r"'\.\./secret'"):
        create_session(graph)


def test_a_graph_whose_fields_come_twice_or_with_wide_numbers(folder: Path) -> None:
    graph = folder / "model.onnx"
    harmless = model(helper.make_node("Constant", [], ["out"], value=numpy_helper.from_array(SECRET)))
    stealing = in_the_graph("../secret").graph.SerializeToString()
    graph.write_bytes(harmless.SerializeToString() + text(7, stealing, wide=True))
    with pytest.raises(BundleError, match=r"'\.\./secret'"):
        create_session(graph)


@pytest.mark.parametrize("bits", [1 << 32, 1 << 40])
def test_a_tag_of_which_some_readers_drop_bits(folder: Path, bits: int) -> None:
    stealing = in_the_graph("../secret").graph.SerializeToString()
    graph = folder / "model.onnx"
    graph.write_bytes(varint((7 << 3 | 2) | bits) + varint(len(stealing)) + stealing)
    with pytest.raises(BundleError, match="no whole ONNX graph"):
        create_session(graph)


def test_a_graph_of_too_many_parts_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "_MOST_FIELDS", 1000)
    graph = folder / "model.onnx"
    graph.write_bytes(b"\x08\x07" * 1001)
    with pytest.raises(BundleError, match="no whole ONNX graph"):
        create_session(graph)


def test_a_large_graph_is_mapped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "_MAPPED", 1)
    graph = folder / "model.onnx"
    graph.write_bytes(in_a_subgraph("../secret").SerializeToString())
    with pytest.raises(BundleError, match=r"'\.\./secret'"):
        create_session(graph)


@pytest.mark.parametrize("manifest", [True, False])
def test_a_bundle_is_refused_before_its_graph_is_loaded(tmp_path: Path, manifest: bool) -> None:
    folder = tmp_path / "bundle"
    (tmp_path / "weights").write_bytes(bytes(100_000))
    if manifest:
        write_bundle(folder)
    else:
        write_foreign(folder)
        write_graph(folder / "onnx" / "model.onnx")
    made = onnx.load(folder / "onnx" / "model.onnx", load_external_data=False)
    for tensor in made.graph.initializer:
        for each in tensor.external_data:
            each.value = "../../weights" if each.key == "location" else each.value
    (folder / "onnx" / "model.onnx").write_bytes(made.SerializeToString())
    (folder / "edgepipe.json").unlink(missing_ok=True)
    with pytest.raises(BundleError, match=r"'\.\./\.\./weights' as a file with its weights"):
        pipeline(model=folder)
