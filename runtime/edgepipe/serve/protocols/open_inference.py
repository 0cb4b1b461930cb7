"""Open Inference Protocol v2 over HTTP, as KServe, Triton and MLServer speak it: health, metadata, inference, models.

https://github.com/kserve/open-inference-protocol and, for tensors behind the JSON, Triton's binary tensor data
extension. A model takes texts as BYTES, each the input of its pipeline. One that reads takes token ids, too, as its
graph has them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from edgepipe.bundle.integrity import parse_json
from edgepipe.errors import InputError
from edgepipe.serve.call import Call
from edgepipe.serve.endpoint import Context, Operation, ProtocolRoutes, json_response, parse_body
from edgepipe.serve.protocols.client_options import check_client_options
from edgepipe.serve.protocols.loopback import require_loopback
from edgepipe.serve.served_model import ServedModel

# The header that says where the JSON ends and tensors begin; requests and answers have it.
_JSON_LENGTH = "inference-header-content-length"

_TYPES: dict[str, str] = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "bytes",
}  # fmt: skip
_NAMES = {name: code for code, name in _TYPES.items()}

# By which names the inputs of a pipeline come, beside those of its own dicts.
_TEXT = ("text", "inputs", "args", "text_input")

# Parameters of a request that are the protocol's.
_OWN_PARAMETERS = {
    "binary_data_output", "content_type", "priority", "sequence_end", "sequence_id", "sequence_start", "timeout",
}  # fmt: skip

# Tasks whose result is one label and its score, which are tensors of their own.
_ONE_LABEL = frozenset({"text-classification"})

# The most numbers that a tensor's shape may stand for.
_MOST = 1 << 26

Parameters = dict[str, Any]


class InferInput(msgspec.Struct):
    """A tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: Any = None


class InferRequestedOutput(msgspec.Struct):
    """A tensor that is wanted."""

    name: str
    parameters: Parameters = {}


class EmbeddingParameters(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of a request for vectors: the pipeline's options of ``embed``."""

    prompt: str | None = None
    prompt_name: str | None = None
    normalize_embeddings: bool = False
    truncate_dim: int | None = None
    pooling: str | None = None


class InferRequest(msgspec.Struct):
    """The body of ``infer``."""

    inputs: list[InferInput]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[InferRequestedOutput] = []


class InferOutput(msgspec.Struct, omit_defaults=True):
    """A tensor of an answer; its numbers may be behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class InferResponse(msgspec.Struct, omit_defaults=True):
    """The answer to ``infer``."""

    model_name: str
    model_version: str
    outputs: list[InferOutput]
    id: str = ""


class TensorMetadata(msgspec.Struct):
    """What a tensor is like; -1 for a dimension that varies."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(msgspec.Struct):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Flag(msgspec.Struct, omit_defaults=True):
    """Whether something holds."""

    live: bool | None = None
    ready: bool | None = None
    name: str | None = None


class IndexEntry(msgspec.Struct):
    """A model of the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class InferErrorBody(msgspec.Struct):
    """An error."""

    error: str


async def _server(context: Context) -> Response:
    from edgepipe import __version__

    extensions = ["binary_tensor_data", "model_repository"]
    return json_response(ServerMetadata("edgepipe", __version__, extensions))


async def _live(context: Context) -> Response:
    return json_response(Flag(live=True))


async def _ready(context: Context) -> Response:
    ready = context.repository.is_ready
    return json_response(Flag(ready=ready), 200 if ready else 503)


async def _model_ready(context: Context) -> Response:
    model = _find(context)
    return json_response(Flag(name=model.name, ready=True))


async def _model(context: Context) -> Response:
    model = _find(context)
    inputs = [TensorMetadata(name, "BYTES", [-1]) for name in _input_names(model)]
    outputs = [TensorMetadata(name, datatype, shape) for name, datatype, shape in _describe_outputs(model)]
    return json_response(ModelMetadata(model.name, [model.version], "edgepipe_onnx", inputs, outputs))


async def _infer(context: Context) -> Response:
    model = _find(context)
    request, arrays = read_request(context.body, context.headers)
    if "input_ids" in arrays:
        outputs = await _infer_tensors(model, arrays, context.call)
    else:
        outputs = await _infer_texts(model, arrays, request, context.call)
    return write_response(model.name, model.version, request, outputs)


async def _index(context: Context) -> Response:
    repository = context.repository
    entries = [
        IndexEntry(name, model.version, "READY", "")
        if (model := repository.models.get(name)) is not None
        else IndexEntry(name, "", "UNAVAILABLE", repository.failures.get(name, "not loaded"))
        for name in repository.names
    ]
    return json_response(entries)


async def _load(context: Context) -> Response:
    require_loopback(context)
    await context.repository.load(context.path["model"])
    return json_response({})


async def _unload(context: Context) -> Response:
    require_loopback(context)
    await context.repository.unload(context.path["model"])
    return json_response({})


def _find(context: Context) -> ServedModel:
    model = context.repository.get(context.path["model"])
    version = context.path.get("version")
    if version is not None and version != model.version:
        raise InputError(f"{model.name} has the version {model.version}, not {version!r:.80}")
    return model


def read_request(body: bytes, headers: Mapping[str, str]) -> tuple[InferRequest, dict[str, NDArray[Any]]]:
    """A request and its tensors; those of BYTES hold ``bytes``.

    Raises:
        InputError: it has not the form, or a tensor not its shape.
    """
    declared = headers.get(_JSON_LENGTH)
    length = len(body)
    if declared is not None:
        if not (declared.isascii() and declared.isdigit() and len(declared) < 12 and int(declared) <= len(body)):
            raise InputError(f"{_JSON_LENGTH} is {declared!r:.40}, and the body has {len(body)} bytes")
        length = int(declared)
    request = parse_body(body[:length], InferRequest)
    place = length
    arrays: dict[str, NDArray[Any]] = {}
    for each in request.inputs:
        if each.datatype not in _TYPES:
            raise InputError(f"{each.name}: the datatype {each.datatype!r:.40} is none of {', '.join(_TYPES)}")
        if any(size < 0 for size in each.shape) or math.prod(each.shape) > _MOST:
            raise InputError(f"{each.name}: the shape {each.shape!r:.80} cannot be used")
        if each.name in arrays:
            raise InputError(f"{each.name!r:.80} is there twice")
        size = each.parameters.get("binary_data_size")
        if size is None:
            arrays[each.name] = _read_data(each)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or place + size > len(body):
            raise InputError(f"{each.name}: binary_data_size is {size!r:.40}, and {len(body) - place} bytes are left")
        arrays[each.name] = _read_binary(each, body[place : place + size])
        place += size
    if place != len(body):
        raise InputError(f"{len(body) - place} bytes of the body belong to no tensor")
    return request, arrays


def _read_data(tensor: InferInput) -> NDArray[Any]:
    values = list(_flatten(tensor.data))
    if len(values) != math.prod(tensor.shape):
        raise InputError(f"{tensor.name}: {len(values)} values do not fill the shape {tensor.shape}")
    if tensor.datatype == "BYTES":
        if not all(isinstance(value, str) for value in values):
            raise InputError(f"{tensor.name}: BYTES in JSON are texts")
        return _texts(values).reshape(tensor.shape)
    dtype = np.dtype(_TYPES[tensor.datatype])
    kinds = {"b": (bool,), "f": (int, float)}.get(dtype.kind, (int,))
    if not all(isinstance(value, kinds) and (bool in kinds) == isinstance(value, bool) for value in values):
        raise InputError(f"{tensor.name}: a value is no {tensor.datatype}")
    if dtype.kind in "iu" and values:  # numpy 1 would wrap what is too large
        info = np.iinfo(dtype)
        if min(values) < info.min or max(values) > info.max:
            raise InputError(f"{tensor.name}: a value does not fit into {tensor.datatype}")
    try:
        return np.array(values, dtype).reshape(tensor.shape)
    except OverflowError as error:  # a whole number that no float holds
        raise InputError(f"{tensor.name}: a value does not fit into {tensor.datatype}") from error


def _read_binary(tensor: InferInput, data: bytes) -> NDArray[Any]:
    count = math.prod(tensor.shape)
    if tensor.datatype != "BYTES":
        dtype = np.dtype(_TYPES[tensor.datatype]).newbyteorder("<")
        if len(data) != count * dtype.itemsize:
            raise InputError(f"{tensor.name}: {len(data)} bytes do not fill {tensor.shape} of {tensor.datatype}")
        return np.frombuffer(data, dtype).reshape(tensor.shape)
    texts, place = [], 0
    while place < len(data):
        end = place + 4
        size = struct.unpack_from("<I", data, place)[0] if end <= len(data) else len(data)
        if end + size > len(data):
            raise InputError(f"{tensor.name}: a text is longer than the bytes that are left")
        texts.append(data[end : end + size])
        place = end + size
    if len(texts) != count:
        raise InputError(f"{tensor.name}: {len(texts)} texts do not fill the shape {tensor.shape}")
    return _as_objects(texts).reshape(tensor.shape)


def _flatten(data: Any) -> Iterator[Any]:
    waiting = [iter(data if isinstance(data, list) else [data])]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            yield value
        else:
            waiting.pop()


async def _infer_tensors(model: ServedModel, arrays: Mapping[str, NDArray[Any]], call: Call) -> dict[str, NDArray[Any]]:
    """The graph's outputs for rows of token ids."""
    return await model.run_tensors({name: np.ascontiguousarray(array) for name, array in arrays.items()}, call)


async def _infer_texts(
    model: ServedModel, arrays: Mapping[str, NDArray[Any]], request: InferRequest, call: Call
) -> dict[str, NDArray[Any]]:
    """The pipeline's results for texts: each as JSON and, where it has one, its label and score or its vector."""
    columns = {name: [_decode(name, value) for value in array.ravel()] for name, array in arrays.items()}
    options = {name: value for name, value in request.parameters.items() if name not in _OWN_PARAMETERS}
    items = _make_items(model, columns)
    wanted = {each.name for each in request.outputs}
    if "embedding" in wanted or (model.embeds and not wanted):
        try:
            how = msgspec.convert(options, EmbeddingParameters)
        except msgspec.ValidationError as error:
            raise InputError(f"the parameters of an embedding do not fit: {error}") from error
        vectors, _ = await model.embed([_require_text(item) for item in items], call, **msgspec.structs.asdict(how))
        return {"embedding": np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)}
    check_client_options(model.task, options, model.limits)
    results = await model.run_all(items, options, call)
    found: dict[str, NDArray[Any]] = {"output": _texts([json.dumps(result, ensure_ascii=False) for result in results])}
    if results and all(isinstance(each, dict) and {"label", "score"} <= each.keys() for each in results):
        found["label"] = _texts([str(each["label"]) for each in results])
        found["score"] = np.array([each["score"] for each in results], np.float32)
    return found


def _make_items(model: ServedModel, columns: Mapping[str, Sequence[str]]) -> list[Any]:
    """The pipeline's inputs, from columns of texts.

    Raises:
        InputError: a column is missing, unknown, or has another length.
    """
    if not columns:
        raise InputError(f"there is no input; give {' or '.join(_input_names(model))} as BYTES")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the inputs have other numbers of texts: {lengths}")
    if len(columns) == 1:
        [(name, values)] = columns.items()
        if name in _TEXT:
            return [_parse_item(model, value) for value in values]
    known = set(_input_names(model))
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]!r:.80} is no input of {model.name}; its inputs are {', '.join(known)}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _parse_item(model: ServedModel, text: str) -> Any:
    """A text, or for a task whose inputs are none, JSON."""
    if model.task.json_example is None:
        return text
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{model.task.name} takes JSON as e.g. {model.task.json_example}, got {text!r:.60}") from error


def _input_names(model: ServedModel) -> list[str]:
    """The names of a pipeline's inputs: those of its dicts, or one for a text."""
    names = {
        "question-answering": ["question", "context"],
        "text-classification": ["text", "text_pair"],
        "sentence-similarity": ["inputs"],
    }
    return names.get(model.task.name, ["text"])


def _describe_outputs(model: ServedModel) -> Iterator[tuple[str, str, list[int]]]:
    if model.embeds:
        yield "embedding", "FP32", [-1, -1]
    yield "output", "BYTES", [-1]
    if model.task.name in _ONE_LABEL:
        yield "label", "BYTES", [-1]
        yield "score", "FP32", [-1]


def write_response(name: str, version: str, request: InferRequest, outputs: Mapping[str, NDArray[Any]]) -> Response:
    """An answer, with the tensors that are wanted behind the JSON where they are wanted as bytes.

    Raises:
        InputError: an output is wanted that is not there.
    """
    wanted = {each.name: each for each in request.outputs}
    for missing in wanted.keys() - outputs.keys():
        raise InputError(f"{missing!r:.80} is no output; there are {', '.join(outputs)}")
    all_binary = request.parameters.get("binary_data_output") is True
    described, parts = [], []
    for each, array in outputs.items():
        if wanted and each not in wanted:
            continue
        datatype = "BYTES" if array.dtype == object else _NAMES[array.dtype.name]
        output = InferOutput(each, list(array.shape), datatype)
        asked = wanted[each].parameters.get("binary_data") if each in wanted else None
        if asked is True or (asked is None and all_binary):
            data = _write_binary(array)
            output.parameters = {"binary_data_size": len(data)}
            parts.append(data)
        else:
            output.data = [value.decode() for value in array.ravel()] if datatype == "BYTES" else array.ravel().tolist()
        described.append(output)
    text = msgspec.json.encode(InferResponse(name, version, described, request.id))
    if not parts:
        return Response(text, media_type="application/json")
    headers = {_JSON_LENGTH: str(len(text))}
    return Response(b"".join([text, *parts]), headers=headers, media_type="application/octet-stream")


def _write_binary(array: NDArray[Any]) -> bytes:
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(value)) + value for value in array.ravel())
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _decode(name: str, value: Any) -> str:
    if not isinstance(value, bytes):
        raise InputError(f"{name}: texts are of the datatype BYTES")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: a text is not UTF-8 ({error})") from error


def _require_text(item: Any) -> str:
    if not isinstance(item, str):
        raise InputError(f"an embedding is of a text, got {item!r:.60}")
    return item


def _texts(values: Sequence[str]) -> NDArray[Any]:
    return _as_objects([value.encode() for value in values])


def _as_objects(values: Sequence[bytes]) -> NDArray[Any]:
    """As numpy has BYTES; of equal lengths it would make an array of characters."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _error(status: int, message: str, error: Exception) -> InferErrorBody:
    return InferErrorBody(message)


def _for_versions(method: str, path: str, *rest: Any, **named: Any) -> list[Operation]:
    return [
        Operation(method, f"/v2/models/{{model}}{version}{path}", *rest, **named)
        for version in ("", "/versions/{version}")
    ]


PROTOCOL = ProtocolRoutes(
    "open-inference",
    [
        Operation("GET", "/v2", _server, "What the server is", answer=ServerMetadata),
        Operation("GET", "/v2/health/live", _live, "Whether it runs", answer=Flag, is_open=True),
        Operation("GET", "/v2/health/ready", _ready, "Whether all models answer", answer=Flag, is_open=True),
        *_for_versions("GET", "", _model, "What a model takes and gives", answer=ModelMetadata),
        *_for_versions("GET", "/ready", _model_ready, "Whether a model answers", answer=Flag, is_open=True),
        *_for_versions("POST", "/infer", _infer, "Results of texts or tensors", InferRequest, InferResponse),
        Operation("POST", "/v2/repository/index", _index, "All models", answer=list[IndexEntry]),
        Operation("POST", "/v2/repository/models/{model}/load", _load, "Load a model", answer=dict),
        Operation("POST", "/v2/repository/models/{model}/unload", _unload, "Unload a model", answer=dict),
    ],
    _error,
    InferErrorBody,
)
