"""Chat templates that take tools, each with a form of calls that checkpoints have; and tools and chats for them."""

from __future__ import annotations

from typing import Any

_MESSAGE = "{{ '<|' + message.role + '|>' + message.content }}\n"
_ANSWER = "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"


def _template(tools: str, call: str, after_content: str = "", *, result: str = _MESSAGE) -> str:
    """A template that writes tools first, and each call behind an answer's text."""
    return (
        "{% if tools %}" + tools + "{% endif %}{% for message in messages %}"
        "{% if message.tool_calls %}{{ '<|assistant|>' + message.content }}" + after_content + call + "\n"
        "{% elif message.role == 'tool' %}" + result + "{% else %}" + _MESSAGE + "{% endif %}{% endfor %}" + _ANSWER
    )


_EACH_CALL = "{% for call in message.tool_calls %}"
_NAMES = "{% for tool in tools %}{{ tool.function.name + ' ' }}{% endfor %}"

# By the models that have such a form.
TEMPLATES = {
    # JSON between tags.
    "hermes": _template(
        "{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}",
        _EACH_CALL + '{{ \'\n<tool_call>\n\' }}{"name": "{{ call.function.name }}", "arguments": '
        "{{ call.function.arguments | tojson }}}{{ '\n</tool_call>' }}{% endfor %}",
        result="{{ '<|user|><tool_response>' + message.content + '</tool_response>' }}\n",
    ),
    # JSON and nothing else.
    "llama": _template(
        "{{ tools | tojson(indent=4) }}\n",
        _EACH_CALL + '{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}'
        "{% endfor %}",
    ),
    # A list behind a special token.
    "mistral": _template(
        "{{ tools | tojson }}\n",
        "{{ '<pad> [' }}" + _EACH_CALL + '{"name": "{{ call.function.name }}", "arguments": '
        '{{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}{{ \', \' if not loop.last }}{% endfor %}]',
        result="{{ '<|tool|>' + message.tool_call_id + message.content }}\n",
    ),
    # Not JSON as a whole.
    "xml": _template(
        _NAMES,
        _EACH_CALL + "<function={{ call.function.name }}>{% for key, value in call.function.arguments.items() %}"
        "<{{ key }}>{{ value }}</{{ key }}>{% endfor %}</function>{% endfor %}",
        result="{{ '<|tool|>' + message.name + message.content }}\n",
    ),
    # Tags, and names alone of the tools, so that prompts are short.
    "short": _template(
        _NAMES,
        _EACH_CALL + '{{ \'\n<tool_call>\n\' }}{"name": "{{ call.function.name }}", "arguments": '
        "{{ call.function.arguments | tojson }}}{{ '\n</tool_call>' }}{% endfor %}",
    ),
}

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "What the weather will be.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"$ref": "#/$defs/kind"}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
            "required": ["place", "days"],
            "additionalProperties": False,
            "$defs": {"kind": {"enum": ["Köln", "Rome", "Oslo"]}},
        },
        "strict": True,
    },
}
# Its references have the same names, and mean something else.
PAINT: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "paint",
        "parameters": {
            "type": "object",
            "properties": {"color": {"$ref": "#/$defs/kind"}},
            "required": ["color"],
            "additionalProperties": False,
            "$defs": {"kind": {"enum": ["red", "blue"]}},
        },
    },
}
STOP: dict[str, Any] = {"type": "function", "function": {"name": "stop"}}
TOOLS = [WEATHER, PAINT, STOP]

USER: dict[str, Any] = {"role": "user", "content": "What is the weather?"}


def call_tool(name: str, arguments: Any, call_id: str = "abcdef123") -> dict[str, Any]:
    """A call as OpenAI has it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
