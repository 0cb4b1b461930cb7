"""``examples/serve/triton_repository.py``: Triton's own protobuf reads the config, which names what the graph has."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format

from edgepipe import Bundle
from edgepipe_export import export
from tests.conftest import REPOSITORY
from tests.tiny import build
from tests.tiny.generative import build_generative

SCRIPT = REPOSITORY / "examples" / "serve" / "triton_repository.py"
TYPES = {onnx.TensorProto.INT64: "TYPE_INT64", onnx.TensorProto.FLOAT: "TYPE_FP32"}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    build("bert", directory=folder / "checkpoint", labels=("bad", "fair", "good"))
    export(folder / "checkpoint", folder / "bundle", dtypes="fp32,int8,int8-rows", force=True, verify=False)
    return folder / "bundle"


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    build("distilbert", directory=folder / "checkpoint")
    export(folder / "checkpoint", folder / "bundle", task="feature-extraction", dtypes="fp32", verify=False)
    return folder / "bundle"


def write(bundle: Path, repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(bundle), str(repository), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def read_config(model: Path) -> Any:
    """The config, as Triton reads it."""
    client = find_spec("tritonclient")
    if client is None or not client.submodule_search_locations:
        pytest.skip("tritonclient is not installed")
    # By its file: the package that it is in wants grpc, which it does not need itself.
    [folder] = client.submodule_search_locations
    spec = spec_from_file_location("model_config_pb2", Path(folder) / "grpc" / "model_config_pb2.py")
    assert spec is not None, "it has a name that ends with .py"
    assert spec.loader is not None, "likewise"
    configs = module_from_spec(spec)
    spec.loader.exec_module(configs)
    return text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), configs.ModelConfig())


def tensors_of(values: Any) -> dict[str, tuple[str, list[int]]]:
    """Type and shape by name, without the batch's axis, from the graph."""
    found = {}
    for value in values:
        _, *others = value.type.tensor_type.shape.dim
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in others]
        found[value.name] = (TYPES[value.type.tensor_type.elem_type], dims)
    return found


@pytest.mark.parametrize(
    ("kind", "dtype", "shares"),
    [
        ("classifier", "fp32", True),
        ("classifier", "int8", False),
        ("classifier", "int8-rows", True),
        ("embedder", "fp32", True),
    ],
    ids=["fp32", "int8", "int8-rows", "embeddings"],
)
def test_the_config_has_the_graph_s_tensors(
    kind: str, dtype: str, shares: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle: Path = request.getfixturevalue(kind)
    done = write(bundle, tmp_path, "--name", "model", "--dtype", dtype)
    assert done.returncode == 0, done.stderr
    config = read_config(tmp_path / "model")
    file = tmp_path / "model" / "1" / config.default_model_filename
    graph = onnx.load(file, load_external_data=False).graph
    enum = config.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type
    for declared, values in ((config.input, graph.input), (config.output, graph.output)):
        named = {each.name: (enum.values_by_number[each.data_type].name, list(each.dims)) for each in declared}
        assert named == tensors_of(values)
    assert (config.name, config.backend, config.max_batch_size) == ("model", "onnxruntime", 32)
    assert config.HasField("dynamic_batching") == shares
    assert ("Without dynamic batching" in done.stdout) == (not shares)
    assert [enum_name(group, "kind") for group in config.instance_group] == ["KIND_CPU"]


def enum_name(message: Any, field: str) -> str:
    described = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(described[getattr(message, field)].name)


def test_the_copy_gives_what_the_bundle_gives(classifier: Path, tmp_path: Path) -> None:
    """The weights lie beside the graph, under the name that it has for them."""
    assert write(classifier, tmp_path, "--dtype", "fp32").returncode == 0
    model = tmp_path / "bundle"
    graph = Bundle.load(classifier).graph("fp32")
    sessions = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (graph, model / "1" / graph.name)
    ]
    ids = np.arange(5, 17).reshape(2, 6)
    feeds = {each.name: ids if each.name == "input_ids" else np.ones_like(ids) for each in sessions[0].get_inputs()}
    ours, theirs = (session.run(None, feeds) for session in sessions)
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_a_second_time_it_is_the_next_version(classifier: Path, tmp_path: Path) -> None:
    said = [write(classifier, tmp_path).stdout.splitlines()[0] for _ in range(2)]
    assert said == [str(tmp_path / "bundle" / number) for number in ("1", "2")]
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["1", "2", "config.pbtxt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--dtype", "q4"], "it has no such variant"), (["--dtype", "fp32", "--max-batch", "8"], "another --name")],
    ids=["dtype", "other-config"],
)
def test_what_cannot_be_written_changes_nothing(
    options: list[str], said: str, classifier: Path, tmp_path: Path
) -> None:
    assert write(classifier, tmp_path, "--dtype", "fp32").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    done = write(classifier, tmp_path, *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_model_that_writes_is_refused(tmp_path: Path) -> None:
    build_generative("gpt2", directory=tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "bundle", dtypes="fp32", verify=False)
    done = write(tmp_path / "bundle", tmp_path / "repository")
    assert done.returncode == 1
    assert "only encoders, which read token ids alone" in done.stderr
    assert not (tmp_path / "repository").exists()
