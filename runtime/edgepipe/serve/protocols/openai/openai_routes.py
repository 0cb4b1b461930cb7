"""OpenAI's protocol: all routes; models and embeddings are here, the others in files of their own.

https://platform.openai.com/docs/api-reference/models and ``/embeddings``.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from edgepipe.serve.endpoint import Context, Operation, ProtocolRoutes, json_response
from edgepipe.serve.protocols.openai import openai_chats, openai_completions
from edgepipe.serve.protocols.openai.openai_errors import (
    OpenAIErrorBody,
    RequestError,
    find_model,
    make_error,
    read_body,
    refuse_field,
)
from edgepipe.serve.served_model import ServedModel


class ModelEntry(msgspec.Struct):
    """A model."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "edgepipe"


class ModelList(msgspec.Struct):
    """All models."""

    data: list[ModelEntry]
    object: str = "list"


class CreateEmbeddingRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A text, or several, of which vectors are wanted."""

    input: str | Annotated[list[Any], msgspec.Meta(min_length=1)]
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    user: str | None = None


class EmbeddingEntry(msgspec.Struct):
    """The vector of a text: numbers, or float32 of little endian in base64."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(msgspec.Struct):
    """How many tokens went in."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    """The vectors of all texts."""

    data: list[EmbeddingEntry]
    model: str
    usage: EmbeddingUsage
    object: str = "list"


async def _models(context: Context) -> Response:
    return json_response(ModelList([_describe(each) for each in context.repository.models.values()]))


async def _model(context: Context) -> Response:
    return json_response(_describe(find_model(context, context.path["model"])))


def _describe(model: ServedModel) -> ModelEntry:
    """A model; it is as old as its folder."""
    created = 0
    with suppress(OSError):  # it may be gone by now, and what was loaded answers
        created = int(model.task.model.directory.stat().st_mtime)  # type: ignore[attr-defined]
    return ModelEntry(model.name, created)


async def _embed(context: Context) -> Response:
    request = read_body(context, CreateEmbeddingRequest)
    model = find_model(context, request.model)
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not all(isinstance(each, str) for each in texts):
        raise refuse_field(
            "input",
            "token ids are those of another tokenizer for all that the server knows; send the text (LangChain: "
            "check_embedding_ctx_length=False)",
        )
    options: dict[str, Any] = {}
    if request.dimensions is not None:  # OpenAI's shorter vectors have length 1, too
        options = {"truncate_dim": request.dimensions, "normalize_embeddings": True}
    vectors, tokens = await model.embed(texts, context.call, **options)
    if request.dimensions is not None and vectors[0].size < request.dimensions:
        raise RequestError(
            400,
            f"dimensions is {request.dimensions}, and vectors of {model.name} have {vectors[0].size}; ask for fewer",
            code="invalid_value",
            param="dimensions",
        )
    in_base64 = request.encoding_format == "base64"
    data = [
        EmbeddingEntry(index, _to_base64(vector) if in_base64 else vector.tolist())
        for index, vector in enumerate(vectors)
    ]
    return json_response(EmbeddingList(data, model.name, EmbeddingUsage(tokens, tokens)))


def _to_base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


PROTOCOL = ProtocolRoutes(
    "openai",
    [
        Operation("GET", "/v1/models", _models, "All models", answer=ModelList),
        Operation("GET", "/v1/models/{model}", _model, "A model", answer=ModelEntry),
        Operation("POST", "/v1/embeddings", _embed, "Vectors of texts", CreateEmbeddingRequest, EmbeddingList),
        openai_completions.OPERATION,
        openai_chats.OPERATION,
    ],
    make_error,
    OpenAIErrorBody,
)
