"""What OpenAI calls function calling: the tools of a chat, and what an answer may be by ``tool_choice``.

https://platform.openai.com/docs/guides/function-calling. With ``required`` or a named function an answer is held to one
call whose arguments fulfil the function's schema. With ``auto`` the model writes what it likes, and calls in it are
found. With ``none`` it is not told of tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from edgepipe.errors import DependencyError, InputError
from edgepipe.generation.config import CHECKS
from edgepipe.generation.logits.constraints.constraint import build_constraint
from edgepipe.pipelines.generative import GenerativeTask
from edgepipe.serve.call import Call
from edgepipe.serve.protocols.openai.openai_errors import RequestError, refuse_field
from edgepipe.serve.protocols.openai.openai_formats import NO_ENGINE
from edgepipe.serve.protocols.openai.tool_call_form import CallForm, ToolSupport
from edgepipe.serve.protocols.openai.tool_call_reader import AnswerReader, ForcedCallReader, find_calls
from edgepipe.serve.served_model import ServedModel
from edgepipe.tokenization.tokenizer import Tokenizer

_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


class FunctionDefinition(msgspec.Struct, forbid_unknown_fields=True):
    """A function that the model may call."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]+$", max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, forbid_unknown_fields=True):
    """A tool; all are functions."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(msgspec.Struct, forbid_unknown_fields=True):
    """A function by its name."""

    name: str


class NamedToolChoice(msgspec.Struct, forbid_unknown_fields=True):
    """The tool that is to be called."""

    type: Literal["function"]
    function: NamedFunction


Tools = Annotated[list[Tool], msgspec.Meta(min_length=1, max_length=128)]
ToolChoice = Literal["none", "auto", "required"] | NamedToolChoice


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a request's tools mean for its answers.

    Attributes:
        options: Options of the task.
        begin: Tokens with which an answer begins that is held to be a call.
        form: Of calls; None where answers are text.
        names: The functions that may be called.
        is_forced: Whether an answer is a call.
        most: How many calls an answer may have; None for any number.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    begin: Sequence[int] = ()
    form: CallForm | None = None
    names: frozenset[str] = frozenset()
    is_forced: bool = False
    most: int | None = None

    def start_reader(self) -> AnswerReader | None:
        """What takes an answer apart; None where all of it is text."""
        if self.form is None:
            return None
        return ForcedCallReader(self.form) if self.is_forced else find_calls(self.form, self.names, most=self.most)


async def read_tools(
    tools: Sequence[Tool] | None,
    choice: ToolChoice | None,
    support: ToolSupport | None,
    model: ServedModel,
    call: Call,
    *,
    parallel: bool,
) -> ToolUse:
    """Check the tools of a request, and make ready what its answers are held to.

    Args:
        tools: The functions.
        choice: Whether and which are to be called; None for ``auto``.
        support: What the model's template does with tools; None where there are none.
        model: Writes.
        call: Gets warnings.
        parallel: Whether an answer may have several calls.

    Raises:
        RequestError: a tool or the choice cannot be used, by this model or by any.
    """
    if tools is None:
        if choice not in (None, "none"):
            message = "tool_choice is only allowed with tools; send tools, too, or leave it out"
            raise RequestError(400, message, code="invalid_value", param="tool_choice")
        return ToolUse()
    _check_tools(tools)
    chosen = _choose(tools, choice)
    if choice == "none" or support is None:
        return ToolUse()
    if not support.takes_tools:
        raise refuse_field("tools", f"the chat template of {model.name} takes none; ask another model")
    options: dict[str, Any] = {"tools": [_describe(each.function) for each in tools]}
    names = frozenset(each.function.name for each in tools)
    if choice in (None, "auto"):
        if support.form is None:
            unknown = (
                f"the chat template of {model.name} does not write calls as JSON, so that they cannot be found in a "
                'text; send "required", a function, or "none"'
            )
            raise refuse_field("tool_choice auto", unknown, param="tool_choice")
        if any(each.function.strict for each in tools):
            call.warnings.append(
                'strict is not kept with tool_choice "auto": arguments are as the model writes them; check them, or '
                'send "required" or a function'
            )
        return ToolUse(options, form=support.form, names=names, most=None if parallel else 1)
    form = support.form or CallForm()
    if isinstance(model.task, GenerativeTask):
        schema = await asyncio.to_thread(_make_schema, tools, chosen, form, model.task.tokenizer)
        options["json_schema"] = schema
    return ToolUse(options, form.before, form, names, is_forced=True, most=1)


def _check_tools(tools: Sequence[Tool]) -> None:
    seen: set[str] = set()
    for place, tool in enumerate(tools):
        function = tool.function
        if function.name in seen:
            message = f"two tools are called {function.name!r}; give each a name of its own"
            raise RequestError(400, message, code="invalid_value", param=f"tools[{place}].function.name")
        seen.add(function.name)
        kind = "object" if function.parameters is None else function.parameters.get("type")
        if kind != "object":
            raise _schema_error(function, place, f'schema must be of the type "object", got {kind!r:.60}')


def _choose(tools: Sequence[Tool], choice: ToolChoice | None) -> Sequence[int]:
    """Which tools may be called, by their places."""
    if not isinstance(choice, NamedToolChoice):
        return range(len(tools))
    chosen = [place for place, each in enumerate(tools) if each.function.name == choice.function.name]
    if not chosen:
        names = ", ".join(each.function.name for each in tools)
        message = f"tool_choice names {choice.function.name!r:.80}, and the tools are {names:.300}; name one of them"
        raise RequestError(400, message, code="invalid_value", param="tool_choice")
    return chosen


def _describe(function: FunctionDefinition) -> dict[str, Any]:
    """A function as templates know it, as transformers' ``get_json_schema`` writes it."""
    described: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        described["description"] = function.description
    described["parameters"] = _NO_PARAMETERS if function.parameters is None else function.parameters
    return {"type": "function", "function": described}


def _make_schema(tools: Sequence[Tool], chosen: Sequence[int], form: CallForm, tokenizer: Tokenizer) -> dict[str, Any]:
    """The schema of a call, made ready: each function's arguments are those of its own schema.

    Raises:
        RequestError: a schema cannot be followed.
    """
    calls = []
    identifiers: set[str] = set()
    for place in chosen:
        function = tools[place].function
        parameters = {**_NO_PARAMETERS, "additionalProperties": False}
        if function.parameters is not None:
            parameters = function.parameters
        # By it references within a function's schema are its own.
        parameters = {"$id": f"edgepipe:function/{place}", **parameters}
        identifier = str(parameters["$id"])
        if identifier in identifiers:
            raise _schema_error(function, place, f"another function has the $id {identifier!r:.60}, too")
        identifiers.add(identifier)
        # Each alone, since among others a schema that no text fulfils would be passed over.
        _prepare(parameters, tokenizer, function, place)
        properties = {form.name: {"const": function.name}, form.arguments: parameters}
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": [form.name, form.arguments],
                "additionalProperties": False,
            }
        )
    schema: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if form.is_list:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": 1}
    _prepare(schema, tokenizer, tools[chosen[0]].function, chosen[0])
    return schema


def _prepare(schema: Mapping[str, Any], tokenizer: Tokenizer, function: FunctionDefinition, place: int) -> None:
    """Compile a schema, which is kept."""
    try:
        build_constraint("json_schema", CHECKS["json_schema"]("json_schema", schema), tokenizer)
    except DependencyError as error:
        raise refuse_field("tool_choice", f"a call is held to its function, and {NO_ENGINE}") from error
    except InputError as error:
        raise _schema_error(function, place, str(error)) from error


def _schema_error(function: FunctionDefinition, place: int, reason: str) -> RequestError:
    message = f"Invalid schema for function {function.name!r}: {reason}"
    return RequestError(400, message, code="invalid_function_parameters", param=f"tools[{place}].function.parameters")
