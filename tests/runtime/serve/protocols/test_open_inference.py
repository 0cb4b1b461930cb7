"""Open Inference Protocol: by Triton's own client, and by bytes that no client would send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepipe import pipeline
from edgepipe.errors import InputError
from edgepipe.serve.protocols.open_inference import read_request
from edgepipe_models import default_bundle
from tests.runtime.serve.protocols.conftest import TinyServer
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.small_bundle import expected_logits, write_bundle

TEXTS = ["I love it", "bad ☃", "not good at all", "a"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    small = write_bundle(tmp_path_factory.mktemp("small") / "small", ("fp32",))
    with serve_bundles(f"sst2={default_bundle()}", small) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as found:
        yield found


def text_input(values: list[str], *, binary: bool, name: str = "text") -> triton.InferInput:
    found = triton.InferInput(name, [len(values)], "BYTES")
    found.set_data_from_numpy(np.array([value.encode() for value in values], object), binary_data=binary)
    return found


def test_what_the_server_says_of_itself(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sst2")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "edgepipe"
    metadata = client.get_model_metadata("sst2")
    assert [each["name"] for each in metadata["inputs"]] == ["text", "text_pair"]
    assert [each["name"] for each in metadata["outputs"]] == ["output", "label", "score"]
    assert {each["name"] for each in client.get_model_repository_index()} == {"sst2", "small"}


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_texts_get_what_the_pipeline_gives(client: triton.InferenceServerClient, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("output", "label", "score")]
    result = client.infer("sst2", [text_input(TEXTS, binary=binary)], outputs=outputs, request_id="mine")
    expected = [pipeline()(text) for text in TEXTS]
    assert result.get_response()["id"] == "mine"
    assert [json.loads(each) for each in result.as_numpy("output")] == [each[0] for each in expected]
    labels = [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy("label")]
    assert labels == [each[0]["label"] for each in expected]
    assert result.as_numpy("score") == pytest.approx([each[0]["score"] for each in expected], abs=1e-6)


def test_parameters_are_the_pipeline_s_options(client: triton.InferenceServerClient) -> None:
    result = client.infer("sst2", [text_input(TEXTS, binary=True)], parameters={"top_k": 2})
    assert [json.loads(each) for each in result.as_numpy("output")] == pipeline()(TEXTS, top_k=2)


def test_pairs_are_two_inputs(client: triton.InferenceServerClient) -> None:
    pair = [text_input(["a"], binary=True), text_input(["b"], binary=True, name="text_pair")]
    result = client.infer("sst2", pair)
    assert [json.loads(each) for each in result.as_numpy("output")] == pipeline()([{"text": "a", "text_pair": "b"}])


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_token_ids_go_through_the_graph_as_they_are(client: triton.InferenceServerClient, binary: bool) -> None:
    ids, mask = np.array([[5, 6, 7], [8, 9, 0]], np.int64), np.array([[1, 1, 1], [1, 1, 0]], np.int64)
    inputs = []
    for name, array in (("input_ids", ids), ("attention_mask", mask)):
        inputs.append(triton.InferInput(name, [2, 3], "INT64"))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    result = client.infer("small", inputs, outputs=[triton.InferRequestedOutput("logits", binary_data=binary)])
    np.testing.assert_allclose(
        result.as_numpy("logits"), expected_logits("fp32", ids.tolist(), mask.tolist()), atol=1e-5
    )


def test_models_are_unloaded_and_loaded(client: triton.InferenceServerClient) -> None:
    client.unload_model("small")
    assert not client.is_model_ready("small")
    assert not client.is_server_ready() or client.is_model_ready("sst2")
    with pytest.raises(triton.InferenceServerException, match="'small' is not loaded; load it first"):
        client.infer("small", [text_input(["a"], binary=True)])
    client.load_model("small")
    assert client.is_model_ready("small")


def embed(server: TinyServer, model: str, text: str, **parameters: Any) -> httpx.Response:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    return server.post(f"/v2/models/{model}/infer", {"inputs": [tensor], "parameters": parameters})


def test_vectors(tiny_server: TinyServer) -> None:
    found = embed(tiny_server, "sentences", "a b c", normalize_embeddings=True, truncate_dim=8).json()["outputs"]
    expected = tiny_server.tasks["sentences"].embed("a b c", normalize_embeddings=True, truncate_dim=8)
    [output] = [each for each in found if each["name"] == "embedding"]
    assert output["shape"] == [1, 8]
    np.testing.assert_allclose(output["data"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"top_k": 1}, "unknown field `top_k`"), ({"normalize_embeddings": "x"}, "normalize_embeddings")],
    ids=["unknown", "wrong"],
)
def test_parameters_of_vectors_that_cannot_be_used(
    tiny_server: TinyServer, parameters: dict[str, Any], message: str
) -> None:
    answer = embed(tiny_server, "sentences", "a", **parameters)
    assert (answer.status_code, message in answer.json()["error"]) == (400, True)


def test_json_that_is_too_deep_is_an_error_of_the_client_s(tiny_server: TinyServer) -> None:
    answer = embed(tiny_server, "answers", "[" * 100_000)
    assert answer.status_code == 400


def test_another_version_is_refused(server: RunningServer, client: triton.InferenceServerClient) -> None:
    version = client.get_model_metadata("sst2")["versions"][0]
    assert client.is_model_ready("sst2", version)
    answer = httpx.get(f"{server.url}/v2/models/sst2/versions/other/ready")
    assert answer.status_code == 400
    assert f"sst2 has the version {version}, not 'other'" in answer.json()["error"]


def body(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"], **changes}]}


WRONG: dict[str, tuple[bytes, str]] = {
    "no_json": (b"{", "the request is not JSON"),
    "no_utf8": (b'{"inputs": "\xff"}', "the request"),
    "no_object": (b"[]", "the request does not fit"),
    "no_inputs": (b'{"inputs": []}', "there is no input; give text or text_pair as BYTES"),
    "deep": (b"[" * 100_000, "the request"),
    "a_shape_that_does_not_fit": (json.dumps(body(shape=[2])).encode(), "1 values do not fill the shape"),
    "a_negative_shape": (json.dumps(body(shape=[-1])).encode(), "cannot be used"),
    "a_huge_shape": (json.dumps(body(shape=[10**9, 10**9])).encode(), "cannot be used"),
    "an_unknown_type": (json.dumps(body(datatype="TEXT")).encode(), "datatype 'TEXT' is none of BOOL"),
    "numbers_for_texts": (json.dumps(body(data=[1])).encode(), "BYTES in JSON are texts"),
    "a_number_too_large": (
        json.dumps(body(name="input_ids", datatype="INT32", shape=[1, 1], data=[2**40])).encode(),
        "does not fit into INT32",
    ),
    "a_number_too_small": (
        json.dumps(body(name="input_ids", datatype="UINT8", shape=[1, 1], data=[-1])).encode(),
        "does not fit into UINT8",
    ),
    "an_unknown_input": (json.dumps(body(name="texts")).encode(), "'texts' is no input of sst2"),
    "an_option_that_takes_memory": (
        json.dumps({**body(), "parameters": {"pad_to_multiple_of": 8}}).encode(),
        "no option",
    ),
    "an_unknown_option": (json.dumps({**body(), "parameters": {"topk": 1}}).encode(), "topk"),
    "a_wrong_option": (json.dumps({**body(), "parameters": {"top_k": "x"}}).encode(), "top_k"),
    "an_unknown_output": (json.dumps({**body(), "outputs": [{"name": "x"}]}).encode(), "'x' is no output"),
    "an_empty_text": (json.dumps(body(data=["\ud800"])).encode(), "the request"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_the_protocol_s_shape(server: RunningServer, name: str) -> None:
    content, message = WRONG[name]
    answer = httpx.post(f"{server.url}/v2/models/sst2/infer", content=content)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("declared", "content", "message"),
    [
        pytest.param("9", b"{}", "is '9', and the body has 2 bytes", id="longer_than_the_body"),
        pytest.param("x", b"{}", "is 'x'", id="no_number"),
        pytest.param("2", b"{}ab", "does not fit", id="bytes_without_a_tensor"),
    ],
)
def test_the_length_of_the_json(server: RunningServer, declared: str, content: bytes, message: str) -> None:
    headers = {"inference-header-content-length": declared}
    answer = httpx.post(f"{server.url}/v2/models/sst2/infer", content=content, headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_unknown_models_and_routes(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}/v2/models/other/infer", json=body())
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "there is no model 'other'; those here are sst2, small",
    )
    answer = httpx.get(f"{server.url}/v2/other")
    assert answer.status_code == 404
    assert "there is no route GET '/v2/other'" in answer.json()["error"]
    answer = httpx.get(f"{server.url}/v2/models/sst2/infer")
    assert answer.status_code == 405


@given(
    texts=st.lists(st.binary(max_size=5), max_size=3),
    shape=st.lists(st.integers(-2, 4), max_size=3),
    size=st.integers(-1, 30) | st.text(max_size=2) | st.booleans(),
    declared=st.integers(0, 200),
    datatype=st.sampled_from(["BYTES", "INT64", "FP16", "BOOL", "x"]),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_tensors_or_an_error(
    texts: list[bytes], shape: list[int], size: Any, declared: int, datatype: str
) -> None:
    described = {"name": "t", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [described]}).encode()
    tail = b"".join(len(each).to_bytes(4, "little") + each for each in texts)
    try:
        _, arrays = read_request(
            head + tail, {"inference-header-content-length": str(min(declared, 2) * len(head) // 2)}
        )
    except InputError:
        return
    assert list(arrays["t"].shape) == shape


def test_a_tensor_of_texts_keeps_its_order_and_shape() -> None:
    parts = [b"one", b"", "\u2603".encode()]
    tail = b"".join(len(each).to_bytes(4, "little") + each for each in parts)
    head = json.dumps(
        {"inputs": [{"name": "t", "shape": [3, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}]}
    ).encode()
    _, arrays = read_request(head + tail, {"inference-header-content-length": str(len(head))})
    assert arrays["t"].tolist() == [[each] for each in parts]


def test_the_bundle_s_folder_is_not_shown(server: RunningServer, tmp_path: Path) -> None:
    assert str(tmp_path.parent.parent) not in httpx.get(f"{server.url}/v2/models/small").text
