"""text-embeddings-inference's routes: vectors, ranks, predictions, tokens; for one model, or each under its name.

https://github.com/huggingface/text-embeddings-inference, ``docs/openapi.json`` and ``router/src/http``. Theirs serves
one model. Here a route takes the first model that it fits, and ``/models/{model}`` before it names another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from edgepipe.errors import BundleError, InputError, TaskError
from edgepipe.pipelines.sentence_embedding import EmbeddingTask
from edgepipe.pipelines.text_classification import TextClassification
from edgepipe.serve.call import RefusedError
from edgepipe.serve.endpoint import Context, Operation, ProtocolRoutes, json_response, status_of
from edgepipe.serve.protocols.embedding_answers import Direction, compare_sentences, embed_texts, limit_texts
from edgepipe.serve.scheduling.long_inputs import tokenize
from edgepipe.serve.served_model import ServedModel

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]
TokenId = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class ErrorResponse(msgspec.Struct):
    """An error."""

    error: str
    error_type: ErrorType


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """What all requests are like: a field that is not known is an error."""


class EmbedAllRequest(_Request):
    """The body of ``/embed_all``."""

    inputs: str | list[str]
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None


class EmbedRequest(EmbedAllRequest):
    """The body of ``/embed``."""

    normalize: bool = True
    dimensions: Annotated[int, Meta(ge=1)] | None = None


class PredictRequest(_Request):
    """The body of ``/predict``: a text, a pair of texts, or a list of lists with one or two texts each."""

    inputs: str | list[str | list[str]]
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    raw_scores: bool = False


class Prediction(msgspec.Struct):
    """A label and its score."""

    score: float
    label: str


class RerankRequest(_Request):
    """The body of ``/rerank``."""

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    raw_scores: bool = False
    return_text: bool = False


class Rank(msgspec.Struct, omit_defaults=True):
    """A text's place in the request, and its score."""

    index: int
    score: float
    text: str | None = None


class SimilarityInput(_Request):
    """Texts to compare."""

    source_sentence: str
    sentences: list[str]


class SimilarityParameters(_Request):
    """How they are read."""

    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None


class SimilarityRequest(_Request):
    """The body of ``/similarity``."""

    inputs: SimilarityInput
    parameters: SimilarityParameters | None = None


class TokenizeRequest(_Request):
    """The body of ``/tokenize``."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class SimpleToken(msgspec.Struct):
    """A token and its place in the text, in bytes of UTF-8; special tokens have none."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeRequest(_Request):
    """The body of ``/decode``: token ids of one text, or of several."""

    ids: list[TokenId | list[TokenId]]
    skip_special_tokens: bool = True


class Info(msgspec.Struct):
    """What is served."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


class _EmptyError(InputError):
    """A list without anything in it."""


async def _health(context: Context) -> Response:
    if not context.repository.is_ready:
        raise RefusedError(503, "unhealthy: not every model is loaded; /health/ready says which")
    return Response()


async def _embed(context: Context) -> Response:
    request = context.read(EmbedRequest)
    model = _find(context, _embeds, "makes no vectors")
    limit_texts(context.call, request.truncate is True, request.truncation_direction)
    vectors = await embed_texts(
        model,
        _list_texts(request.inputs),
        context.call,
        normalize=request.normalize,
        dimensions=request.dimensions,
        prompt_name=request.prompt_name,
    )
    return json_response(vectors)


async def _embed_all(context: Context) -> Response:
    request = context.read(EmbedAllRequest)
    model = _find(context, lambda each: isinstance(each.task, EmbeddingTask), "has a head, and gives no hidden states")
    limit_texts(context.call, request.truncate is True, request.truncation_direction)
    texts = _list_texts(request.inputs)
    return json_response(await model.embed_tokens(texts, context.call, prompt_name=request.prompt_name))


async def _similarity(context: Context) -> Response:
    request = context.read(SimilarityRequest)
    parameters = request.parameters or SimilarityParameters()
    model = _find(context, _embeds, "makes no vectors")
    limit_texts(context.call, parameters.truncate is True, parameters.truncation_direction)
    sentences = _list_texts(request.inputs.sentences, "inputs.sentences")
    source, prompt = request.inputs.source_sentence, parameters.prompt_name
    return json_response(await compare_sentences(model, source, sentences, context.call, prompt_name=prompt))


async def _predict(context: Context) -> Response:
    request = context.read(PredictRequest)
    model = _find(context, _classifies, "classifies no texts")
    limit_texts(context.call, request.truncate is True, request.truncation_direction)
    items, is_batch = _read_pairs(request.inputs)
    options = {"top_k": None, **({"function_to_apply": "none"} if request.raw_scores else {})}
    results = await model.run_all(items, options, context.call)
    predictions = [[Prediction(each["score"], str(each["label"])) for each in result] for result in results]
    return json_response(predictions if is_batch else predictions[0])


async def _rerank(context: Context) -> Response:
    request = context.read(RerankRequest)
    model = _find(context, _reranks, "has not one label, the score of a pair, and ranks nothing")
    limit_texts(context.call, request.truncate is True, request.truncation_direction)
    texts = _list_texts(request.texts, "texts")
    items = [{"text": request.query, "text_pair": text} for text in texts]
    options = {"function_to_apply": "none" if request.raw_scores else "sigmoid"}
    scores = [each["score"] for each in await model.run_all(items, options, context.call)]
    # Of equal scores the last comes first, as theirs are sorted upwards and turned round.
    order = sorted(range(len(texts)), key=scores.__getitem__)[::-1]
    return json_response([Rank(each, scores[each], texts[each] if request.return_text else None) for each in order])


async def _tokenize(context: Context) -> Response:
    request = context.read(TokenizeRequest)
    model = _find_any(context)
    texts = _list_texts(request.inputs)
    model.limits.check_texts(len(texts))
    prompt = _prompt(model, request.prompt_name)

    def list_tokens(texts: list[str]) -> list[list[SimpleToken]]:
        found, left = [], model.limits.tokens
        for text in texts:
            found.append(_tokens(model, prompt + text, request.add_special_tokens))
            left -= len(found[-1])
            if left < 0:
                raise RefusedError(413, f"the texts have more than {model.limits.tokens} tokens; send several requests")
        return found

    return json_response(await tokenize(list_tokens, texts))


async def _decode(context: Context) -> Response:
    request = context.read(DecodeRequest)
    model = _find_any(context)
    if not request.ids or [] in request.ids:
        raise _EmptyError("ids cannot be empty")
    lists = [each for each in request.ids if isinstance(each, list)]
    if lists and len(lists) < len(request.ids):
        raise InputError("ids are whole numbers, or lists of them, not both")
    rows: Sequence[Any] = lists or [request.ids]
    model.limits.check_texts(len(rows))
    # As theirs: no blank before punctuation is taken out.
    how = {"skip_special_tokens": request.skip_special_tokens, "clean_up_tokenization_spaces": False}
    return json_response([model.task.tokenizer.decode(row, **how) for row in rows])


async def _info(context: Context) -> Response:
    from edgepipe import __version__

    model = _find_any(context)
    limits = model.limits
    longest = model.task.embedding_limit if isinstance(model.task, EmbeddingTask) else model.task.model.max_length
    info = Info(
        model_id=model.name,
        model_sha=model.digest,
        model_dtype=model.dtype,
        served_model_name=model.name,
        model_type=_describe_type(model),
        max_concurrent_requests=limits.queue,
        max_input_length=limits.tokens if longest is None else longest,
        max_batch_tokens=limits.tokens,
        max_batch_requests=None,
        max_client_batch_size=limits.texts,
        auto_truncate=False,
        tokenization_workers=1,
        version=__version__,
        sha=None,
        docker_label=None,
    )
    return json_response(info)


def _find(context: Context, fits: Callable[[ServedModel], bool], lack: str) -> ServedModel:
    """The model that the path names; without a name the first that fits.

    Raises:
        RefusedError: there is no such model.
        TaskError: it does not fit.
    """
    name = context.path.get("model")
    if name is None:
        for model in context.repository.models.values():
            if fits(model):
                return model
    model = context.repository.get(name)
    if not fits(model):
        whose = "no model here fits; the first" if name is None else name
        raise TaskError(f"{whose} is for {model.task.name} and {lack}")
    return model


def _find_any(context: Context) -> ServedModel:
    """The model that the path names; without a name the first that one of the other routes takes, or the first."""
    if "model" not in context.path:
        for model in context.repository.models.values():
            if _embeds(model) or _classifies(model):
                return model
    return context.repository.get(context.path.get("model"))


def _embeds(model: ServedModel) -> bool:
    return model.embeds


def _classifies(model: ServedModel) -> bool:
    return isinstance(model.task, TextClassification)


def _reranks(model: ServedModel) -> bool:
    return _classifies(model) and len(model.task.labels) == 1


def _list_texts(inputs: str | list[str], name: str = "inputs") -> list[str]:
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not texts:
        raise _EmptyError(f"{name} cannot be empty")
    return texts


def _read_pairs(inputs: str | list[str | list[str]]) -> tuple[list[Any], bool]:
    """The pipeline's inputs, and whether they are a batch: two texts in a list are a pair, and not one."""
    if isinstance(inputs, str):
        return [inputs], False
    if not inputs:
        raise _EmptyError("inputs cannot be empty")
    is_batch = isinstance(inputs[0], list)
    rows = inputs if is_batch else [inputs]
    items: list[Any] = []
    for row in rows:
        if not (isinstance(row, list) and len(row) in (1, 2) and all(isinstance(text, str) for text in row)):
            raise InputError(
                'inputs are "text", ["text", "its pair"], or a batch of [["text"], ["text", "its pair"]], '
                f"got {inputs!r:.60}"
            )
        items.append(row[0] if len(row) == 1 else {"text": row[0], "text_pair": row[1]})
    return items, is_batch


def _prompt(model: ServedModel, name: str | None) -> str:
    if isinstance(model.task, EmbeddingTask):
        return model.task.sentence_config.prompt(name=name)
    if name is not None:
        raise InputError(f"{model.name} has no prompts; leave prompt_name out")
    return ""


def _tokens(model: ServedModel, text: str, add_special_tokens: bool) -> list[SimpleToken]:
    task = model.task
    tokenizer = task.embedding_tokenizer if isinstance(task, EmbeddingTask) else task.tokenizer
    encoding = tokenizer(
        text, add_special_tokens=add_special_tokens, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    ends = range(len(text) + 1) if text.isascii() else [0, *accumulate(len(each.encode()) for each in text)]
    columns = (encoding["input_ids"], encoding.tokens(), encoding["offset_mapping"], encoding["special_tokens_mask"])
    return [
        SimpleToken(number, token, True, None, None)
        if special
        else SimpleToken(number, text[start:stop], False, ends[start], ends[stop])
        for number, token, (start, stop), special in zip(*columns, strict=True)
    ]


def _describe_type(model: ServedModel) -> dict[str, Any]:
    if isinstance(model.task, EmbeddingTask):
        modules = model.task.sentence_config.modules or ()
        modes = [mode for module in modules for mode in getattr(module, "modes", ())]
        return {"embedding": {"pooling": " ".join(modes) or "none"}}
    if not _classifies(model):
        return {model.task.name: {}}
    labels = {str(place): str(label) for place, label in model.task.id2label.items()}
    names = {"id2label": labels, "label2id": {label: int(place) for place, label in labels.items()}}
    return {"reranker" if _reranks(model) else "classifier": names}


def _status(error: Exception) -> int:
    """422 of an input, 424 of a model, and 400 of a list without anything."""
    if isinstance(error, _EmptyError):
        return 400
    if isinstance(error, InputError):
        return 422
    return 424 if isinstance(error, (TaskError, BundleError)) else status_of(error)


def _error(status: int, message: str, error: Exception) -> ErrorResponse:
    types: dict[int, ErrorType] = {
        424: "Backend",
        429: "Overloaded",
        500: "Backend",
        503: "Unhealthy",
        504: "Overloaded",
    }
    return ErrorResponse(message, "Empty" if isinstance(error, _EmptyError) else types.get(status, "Validation"))


def _for_models(
    method: str, path: str, handler: Callable[[Context], Awaitable[Response]], *rest: Any, **named: Any
) -> list[Operation]:
    return [Operation(method, f"{prefix}{path}", handler, *rest, **named) for prefix in ("", "/models/{model}")]


PROTOCOL = ProtocolRoutes(
    "text-embeddings-inference",
    [
        Operation("GET", "/health", _health, "Whether all models answer", is_open=True),
        *_for_models("GET", "/info", _info, "What is served", answer=Info),
        *_for_models("POST", "/embed", _embed, "Vectors of texts", EmbedRequest, list[list[float]]),
        *_for_models("POST", "/embed_all", _embed_all, "Vectors of tokens", EmbedAllRequest, list[list[list[float]]]),
        *_for_models("POST", "/similarity", _similarity, "Nearness of sentences", SimilarityRequest, list[float]),
        *_for_models(
            "POST", "/predict", _predict, "Labels of texts", PredictRequest, list[Prediction | list[Prediction]]
        ),
        *_for_models("POST", "/rerank", _rerank, "Texts by how well they answer a query", RerankRequest, list[Rank]),
        *_for_models("POST", "/tokenize", _tokenize, "Tokens of texts", TokenizeRequest, list[list[SimpleToken]]),
        *_for_models("POST", "/decode", _decode, "Texts of token ids", DecodeRequest, list[str]),
    ],
    _error,
    ErrorResponse,
    _status,
)
