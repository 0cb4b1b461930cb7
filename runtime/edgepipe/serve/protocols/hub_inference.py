"""The Hub's inference form: ``{"inputs", "parameters"}`` for each task, as ``huggingface_hub.InferenceClient`` asks it.

https://huggingface.co/docs/inference-providers/tasks and, for texts that are written,
text-generation-inference. Results are those of our pipelines, in the shapes that the client reads.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

import msgspec
from starlette.responses import Response

from edgepipe.arguments import is_whole
from edgepipe.bundle.tasks import resolve_alias
from edgepipe.errors import EdgepipeError, InputError, TaskError
from edgepipe.pipelines.options import check_options
from edgepipe.pipelines.sentence_embedding import EmbeddingTask
from edgepipe.pipelines.text2text_generation import Text2TextGeneration
from edgepipe.pipelines.text_classification import TextClassification
from edgepipe.pipelines.zero_shot_classification import ZeroShotClassification
from edgepipe.serve.call import Call, RefusedError
from edgepipe.serve.endpoint import (
    Context,
    EventStream,
    Operation,
    ProtocolRoutes,
    describe_error,
    json_response,
    status_of,
)
from edgepipe.serve.protocols.client_options import CLIENT_OPTIONS, check_client_options
from edgepipe.serve.protocols.embedding_answers import Direction, compare_sentences, embed_texts, limit_texts
from edgepipe.serve.served_model import ServedModel

SIMILARITY = "sentence-similarity"
EXTRACTION = "feature-extraction"

# Where the Hub's default is not the pipeline's.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "text-classification": {"top_k": None},
    "token-classification": {"aggregation_strategy": "simple"},
    "text-generation": {"return_full_text": False},
}

# What text-generation-inference takes and is not here, with the value that asks for nothing.
_NOT_HERE: Mapping[str, Any] = {
    "adapter_id": None,
    "best_of": 1,
    "decoder_input_details": False,
    "frequency_penalty": 0,
    "grammar": None,
    "truncate": None,
    "watermark": False,
}

# The most tokens for which `top_n_tokens` asks at each place, as theirs.
_MOST_TOP_TOKENS = 5


class HubErrorBody(msgspec.Struct):
    """An error."""

    error: str
    error_type: Literal["validation", "overloaded", "unhealthy", "generation"]


class HubOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What the Hub's servers did once with these; they change nothing here."""

    use_cache: bool | None = None
    wait_for_model: bool | None = None
    use_gpu: bool | None = None


class InferenceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body: inputs of a task and its parameters. The client sends those of feature extraction beside them."""

    inputs: Any
    parameters: dict[str, Any] | None = None
    stream: bool = False
    options: HubOptions | None = None
    normalize: bool | None = None
    prompt_name: str | None = None
    truncate: bool | None = None
    truncation_direction: Direction | None = None
    dimensions: int | None = None
    encoding_format: str | None = None


class ExtractionParameters(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of feature extraction."""

    normalize: bool = False
    prompt_name: str | None = None
    truncate: bool = True
    truncation_direction: Direction | None = None
    dimensions: int | None = None
    encoding_format: Literal["float"] = "float"


_BESIDE = tuple(name for name in ExtractionParameters.__struct_fields__)


async def _infer(context: Context) -> Response:
    request = context.read(InferenceRequest)
    model = context.repository.get(context.path.get("model"))
    task = _task_of(model, request.inputs, context.path.get("task"))
    parameters = _read_parameters(request)
    if request.inputs == []:
        raise InputError("inputs is an empty list; give at least one input")
    if task == SIMILARITY:
        return json_response(await _compare(model, request.inputs, parameters, context.call))
    if task == EXTRACTION:
        return json_response(await _extract(model, request.inputs, parameters, context.call))
    if model.generates:
        return await _write(model, request, parameters, context)
    if request.stream:
        raise InputError(f"{model.name} is for {task}, whose results come at once; leave stream out")
    options = {**DEFAULTS.get(task, {}), **parameters}
    return json_response(await _run(model, request.inputs, options, context.call))


def _task_of(model: ServedModel, inputs: Any, asked: str | None) -> str:
    """The task that is wanted: the model's, or for one without a head, which has two, that of the path or the inputs.

    Raises:
        TaskError: the path names another.
    """
    own = model.task.name
    if not isinstance(model.task, EmbeddingTask):
        if asked is not None and resolve_alias(asked) != own:
            raise TaskError(f"{model.name} is for {own}, and not for {asked!r:.60}")
        return own
    if asked is not None:
        if asked not in (SIMILARITY, EXTRACTION):
            raise TaskError(f"{model.name} is for {EXTRACTION} or {SIMILARITY}, and not for {asked!r:.60}")
        return asked
    return SIMILARITY if isinstance(inputs, Mapping) else EXTRACTION


def _read_parameters(request: InferenceRequest) -> dict[str, Any]:
    """All that is said of how to answer; null is nothing said."""
    beside = {name: getattr(request, name) for name in _BESIDE}
    given = [request.parameters or {}, beside]
    nested = (request.parameters or {}).get("generate_parameters")
    if nested is not None and not isinstance(nested, dict):
        raise InputError(f"generate_parameters must be parameters by name, got {nested!r:.60}")
    merged = {name: value for each in [nested or {}, *given] for name, value in each.items() if value is not None}
    merged.pop("generate_parameters", None)
    return merged


async def _run(model: ServedModel, inputs: Any, options: Mapping[str, Any], call: Call) -> Any:
    """The pipeline's results in the shapes of the Hub."""
    task = model.task
    check_client_options(model.task, options, model.limits)
    is_one = model.task.is_one(inputs)
    items = [inputs] if is_one else list(inputs)
    if isinstance(task, ZeroShotClassification):
        _check_labels(model, items, options)
    results = await model.run_all(items, options, call)
    if isinstance(task, ZeroShotClassification):
        results = [
            [{"label": label, "score": score} for label, score in zip(each["labels"], each["scores"], strict=True)]
            for each in results
        ]
    if isinstance(task, TextClassification):
        return [each if isinstance(each, list) else [each] for each in results]
    if is_one:
        return results[0]
    if isinstance(task, Text2TextGeneration) and all(len(each) == 1 for each in results):
        return [each[0] for each in results]
    return results


def _check_labels(model: ServedModel, items: list[Any], options: Mapping[str, Any]) -> None:
    """Check that there are labels, and that reading each text with each of them is not too much.

    Raises:
        InputError: there are none.
        RefusedError: it is too much.
    """
    labels = model.task.settings(model.task.merge_options(options)).labels
    if not labels:
        raise InputError('there are no labels: give parameters {"candidate_labels": ["politics", "sports"]}')
    characters = len(labels) * sum(len(item) for item in items if isinstance(item, str))
    if characters > model.limits.body:
        raise RefusedError(
            413, f"{len(labels)} labels for each text are {characters} characters; send shorter texts, or fewer labels"
        )


async def _compare(model: ServedModel, inputs: Any, parameters: Mapping[str, Any], call: Call) -> Any:
    check_options(parameters, sorted(CLIENT_OPTIONS[SIMILARITY]), SIMILARITY)
    similarity = parameters.get("similarity", "cosine")
    if not isinstance(similarity, str):
        raise InputError(f"similarity must be a name, got {similarity!r:.60}")
    wanted = isinstance(inputs, dict) and set(inputs) == {"source_sentence", "sentences"}
    source, sentences = (inputs["source_sentence"], inputs["sentences"]) if wanted else (None, None)
    if not (isinstance(source, str) and isinstance(sentences, list) and sentences and _are_texts(sentences)):
        raise InputError(f'inputs must be {{"source_sentence": a text, "sentences": [texts]}}, got {inputs!r:.80}')
    return await compare_sentences(model, source, sentences, call, similarity=similarity)


async def _extract(model: ServedModel, inputs: Any, parameters: dict[str, Any], call: Call) -> Any:
    """A vector for each text or, where the bundle does not say how one is made, the pipeline's hidden states."""
    try:
        wanted = msgspec.convert(parameters, ExtractionParameters)
    except msgspec.ValidationError as error:
        raise InputError(f"the parameters of {EXTRACTION} do not fit: {error}") from error
    is_one = isinstance(inputs, str)
    texts = [inputs] if is_one else inputs
    if not (isinstance(texts, list) and _are_texts(texts)):
        raise InputError(f"inputs must be a text or a list of texts, got {inputs!r:.80}")
    limit_texts(call, wanted.truncate, wanted.truncation_direction)
    if model.embeds:
        results: list[Any] = list(
            await embed_texts(
                model,
                texts,
                call,
                normalize=wanted.normalize,
                dimensions=wanted.dimensions,
                prompt_name=wanted.prompt_name,
            )
        )
    elif wanted.normalize or wanted.dimensions is not None or wanted.prompt_name is not None:
        raise InputError(f"{model.name} makes no vectors of texts; leave normalize, dimensions and prompt_name out")
    else:
        results = await model.run_all(texts, {"return_tensors": True}, call)
    return results[0] if is_one else results


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


async def _write(
    model: ServedModel, request: InferenceRequest, parameters: dict[str, Any], context: Context
) -> Response:
    """What a model writes: whole, with details of each token, or token by token."""
    options = {**DEFAULTS.get(model.task.name, {}), **parameters}
    details = options.pop("details", False)
    top = options.pop("top_n_tokens", 0)
    for name, nothing in _NOT_HERE.items():
        if (value := options.pop(name, nothing)) != nothing:
            raise InputError(f"{name}={value!r:.60} is of text-generation-inference and not here; leave it out")
    if not isinstance(details, bool):
        raise InputError(f"details must be true or false, got {details!r:.60}")
    if not is_whole(top) or top > _MOST_TOP_TOKENS:
        raise InputError(f"top_n_tokens must be a whole number up to {_MOST_TOP_TOKENS}, got {top!r:.60}")
    if "stop" in options:
        options["stop_strings"] = options.pop("stop")
    if not (details or request.stream):
        return json_response(await _run(model, request.inputs, options, context.call))
    check_client_options(model.task, options, model.limits)
    if not model.task.is_one(request.inputs):
        raise InputError("details and stream are of one input, not of a list; send several requests")
    generated = _GeneratedText(model, request.inputs, options, top, context.call)
    await generated.begin()
    if request.stream:
        return EventStream(generated.events(), context.call, model.limits.read)
    return json_response([await generated.whole()])


class _GeneratedText:
    """A text while it is written, in the form of text-generation-inference."""

    def __init__(self, model: ServedModel, inputs: Any, options: dict[str, Any], top: int, call: Call) -> None:
        self._model, self._inputs, self._top, self._call = model, inputs, top, call
        self._full = options.pop("return_full_text", False) and isinstance(inputs, str)
        self._options = options
        self._special = set(model.task.tokenizer.all_special_ids)
        self._text = ""
        self._count = 0

    async def begin(self) -> None:
        """Begin to write.

        Raises:
            InputError: the prompt or an option cannot be used.
            RefusedError: see :meth:`ServedModel.run`.
        """
        self._writing = await self._model.write(self._inputs, self._options, self._call, logprobs=self._top)

    async def events(self) -> AsyncGenerator[str, None]:
        """An event for each token, as JSON; an error is the last."""
        try:
            async for written in self._writing:
                event: dict[str, Any] = {"index": self._count + 1, **self._add(written), "generated_text": None}
                event["details"] = None
                if written.finish_reason is not None:
                    event["generated_text"] = self._whole_text()
                    event["details"] = {
                        **self._details(written),
                        "input_length": self._writing.prompt_tokens,
                    }
                yield msgspec.json.encode(event).decode()
        except EdgepipeError as error:
            yield msgspec.json.encode(describe_error(error, status_of(error), self._call, _error)).decode()

    async def whole(self) -> dict[str, Any]:
        """The text with details of its tokens.

        Raises:
            EdgepipeError: what ended the search.
        """
        tokens: list[Any] = []
        best: list[Any] = []
        details: dict[str, Any] = {}
        async for written in self._writing:
            found = self._add(written)
            tokens.append(found["token"])
            best.append(found.get("top_tokens"))
            details = self._details(written)
        details |= {"prefill": [], "tokens": tokens}
        if self._top:
            details["top_tokens"] = best
        return {"generated_text": self._whole_text(), "details": details}

    def _add(self, written: Any) -> dict[str, Any]:
        self._count += 1
        self._text += written.text
        found: dict[str, Any] = {"token": self._token(written.token_id, written.text, written.logprobs.chosen)}
        if self._top:
            decode = self._model.task.tokenizer.decode
            found["top_tokens"] = [self._token(each, decode([each]), value) for each, value in written.logprobs.best]
        return found

    def _token(self, token_id: int, text: str, logprob: float) -> dict[str, Any]:
        return {"id": token_id, "text": text, "logprob": logprob, "special": token_id in self._special}

    def _details(self, written: Any) -> dict[str, Any]:
        ended = "eos_token" if written.token_id in self._writing.config.eos_token_id else "stop_sequence"
        return {
            "finish_reason": ended if written.finish_reason == "stop" else "length",
            "generated_tokens": self._count,
            "seed": self._options.get("seed"),
        }

    def _whole_text(self) -> str:
        return f"{self._inputs}{self._text}" if self._full else self._text


def _error(status: int, message: str, error: Exception) -> HubErrorBody:
    if status in (429, 503):
        return HubErrorBody(message, "overloaded" if status == 429 else "unhealthy")
    return HubErrorBody(message, "validation" if status < 500 else "generation")


_SUMMARY = "Results of a task's pipeline"

PROTOCOL = ProtocolRoutes(
    "hub-inference",
    [
        Operation("POST", path, _infer, _SUMMARY, InferenceRequest, Any)
        for path in ("/", "/models/{model}", "/models/{model}/pipeline/{task}")
    ],
    _error,
    HubErrorBody,
)
