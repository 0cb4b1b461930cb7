"""How templates write calls, found by asking them; and that they write tools and calls as transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe.serve.protocols.openai.tool_call_form import CallForm, find_tool_support
from tests.runtime.serve.tool_templates import TEMPLATES, TOOLS, USER, call_tool
from tests.tiny import TOKENIZERS

TAGGED = CallForm(tag="<tool_call>", end="</tool_call>")
FORMS: dict[str, tuple[CallForm | None, str]] = {
    "hermes": (TAGGED, "\n<tool_call>\n"),
    "llama": (CallForm(arguments="parameters", keys=frozenset({"name", "parameters"})), ""),
    "mistral": (CallForm(keys=frozenset({"name", "arguments", "id"}), is_list=True), "<pad>"),
    "xml": (None, ""),
    "short": (TAGGED, "\n<tool_call>\n"),
}
ANSWERED = [
    USER,
    {"role": "assistant", "content": "", "tool_calls": [call_tool("get_weather", {"place": "Köln", "days": 2})]},
    {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": "17"},
]


def both(tmp_path: Path, template: Any, tokenizer: str = "llama") -> tuple[Tokenizer, Any]:
    reference = AutoTokenizer.from_pretrained(TOKENIZERS / tokenizer)
    reference.add_special_tokens({"additional_special_tokens": ["<pad>"]})
    reference.chat_template = template
    reference.save_pretrained(tmp_path)
    return Tokenizer.from_pretrained(tmp_path), reference


@pytest.mark.parametrize("tokenizer", ["llama", "gpt2"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_form_of_a_template(tmp_path: Path, name: str, tokenizer: str) -> None:
    ours, _ = both(tmp_path, TEMPLATES[name], tokenizer)
    support = find_tool_support(ours)
    assert support.takes_tools
    assert support.takes_calls
    assert support.takes_results
    expected, before = FORMS[name]
    if expected is None or support.form is None:
        assert support.form is expected
        return
    # How a model is led to a call: what its prompt with the call's beginning is tokenized to.
    prompt = ours.apply_chat_template([USER], add_generation_prompt=True, tokenize=False)
    ids = ours(prompt, add_special_tokens=False)["input_ids"]
    assert [*ids, *support.form.before] == ours(prompt + before, add_special_tokens=False)["input_ids"]
    for field in ("tag", "end", "name", "arguments", "keys", "is_list"):
        assert getattr(support.form, field) == getattr(expected, field), field


@pytest.mark.parametrize("name", TEMPLATES)
def test_tools_and_calls_are_written_as_by_transformers(tmp_path: Path, name: str) -> None:
    ours, reference = both(tmp_path, TEMPLATES[name])
    for chat in ([USER], ANSWERED):
        for generation in (False, True):
            options: dict[str, Any] = {"tools": TOOLS, "tokenize": False, "add_generation_prompt": generation}
            assert ours.apply_chat_template(chat, **options) == reference.apply_chat_template(chat, **options)


@pytest.mark.parametrize(
    ("template", "takes"),
    [
        pytest.param("{% for m in messages %}{{ m.content }}{% endfor %}", (False, False, True), id="nothing"),
        pytest.param(
            "{{ tools | tojson if tools }}{% for m in messages %}{{ m.content }}{% endfor %}",
            (True, False, True),
            id="tools alone",
        ),
        pytest.param(
            "{{ tools | tojson if tools }}{% for m in messages %}"
            "{{ raise_exception('no') if m.role == 'tool' or m.tool_calls }}{{ m.content }}{% endfor %}",
            (True, False, False),
            id="refuses calls",
        ),
        pytest.param("{{ raise_exception('no') }}", (False, False, False), id="refuses all"),
    ],
)
def test_what_a_template_leaves_out(tmp_path: Path, template: str, takes: tuple[bool, bool, bool]) -> None:
    support = find_tool_support(both(tmp_path, template)[0])
    assert (support.takes_tools, support.takes_calls, support.takes_results) == takes
    assert support.form is None


def test_a_template_for_tools_among_several(tmp_path: Path) -> None:
    ours, _ = both(tmp_path, {"default": "{{ messages[0].content }}", "tool_use": TEMPLATES["hermes"]})
    found = find_tool_support(ours)
    assert found.form is not None
    assert found.form.tag == "<tool_call>"
    assert find_tool_support(ours) is found, "it is asked once"


def test_empty_thoughts_are_a_part_of_what_leads_to_a_call_and_not_of_its_tag(tmp_path: Path) -> None:
    template = TEMPLATES["hermes"].replace(
        "'<|assistant|>' + message.content",
        "'<|assistant|>' + ('' if message.content else '<think></think>') + message.content",
    )
    ours, _ = both(tmp_path, template)
    form = find_tool_support(ours).form
    assert form is not None
    assert form.tag == "<tool_call>"
    assert ours.decode(list(form.before)).strip() == "<think></think>\n<tool_call>"


def test_arguments_that_are_a_text_are_no_form(tmp_path: Path) -> None:
    template = TEMPLATES["hermes"].replace(
        "call.function.arguments | tojson", "call.function.arguments | tojson | tojson"
    )
    assert find_tool_support(both(tmp_path, template)[0]).form is None


def test_without_a_template() -> None:
    with pytest.raises(InputError, match="has no chat template"):
        find_tool_support(Tokenizer.from_pretrained(TOKENIZERS / "gpt2"))
