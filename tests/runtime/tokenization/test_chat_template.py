"""Chats as prompts: the text that transformers makes of them, and what a template may not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from edgepipe import Tokenizer
from edgepipe.errors import DependencyError, InputError
from edgepipe.tokenization.chat_template import render
from tests.golden.suites.text_generation import CHAT, CHAT_TEMPLATE, PREFILLED, TOOL, USER
from tests.runtime.processes import run_python
from tests.tiny import TOKENIZERS

ASSISTANT = {"role": "assistant", "content": "  It is here.  "}
# Templates of the forms that checkpoints have; what they share is not repeated.
TEMPLATES = {
    "everything": CHAT_TEMPLATE,
    "ChatML": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "indented": """
        {%- for message in messages %}
            {%- if loop.index0 > 8 %}{% break %}{% endif %}
            {{- message.role ~ ': ' ~ message.content.strip() }}
        {%- endfor %}
        {%- set extra = dict(a=1, b=none) %}
        {{- extra | tojson(indent=2) if documents }}{{ documents | tojson if documents }}
    """,
    "reasoning": "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.content }}\n{% endfor %}",
}
CALLS: dict[str, dict[str, Any]] = {
    "plain": {"conversation": CHAT},
    "an answer is to come": {"conversation": CHAT, "add_generation_prompt": True},
    "an answer is continued": {"conversation": PREFILLED, "continue_final_message": True},
    "a trimmed answer is continued": {"conversation": [USER, ASSISTANT], "continue_final_message": True},
    "tools": {"conversation": [USER], "tools": [TOOL], "documents": [{"title": "Ü <b>", "text": "x"}]},
    "variables": {"conversation": [USER], "thinking": True, "add_generation_prompt": True, "bos_token": "<begin>"},
    "reasoning": {"conversation": [USER, ASSISTANT | {"reasoning": "Hm."}]},
    "None": {"conversation": [USER | {"name": None, "tool_calls": None}]},
    "odd values": {"conversation": [USER], "number": 2.5, "flag": True, "path": Path("x"), "many": (1, [None])},
}


def both(tmp_path: Path, template: Any) -> tuple[Tokenizer, Any]:
    reference = AutoTokenizer.from_pretrained(TOKENIZERS / "llama")
    reference.chat_template = template
    reference.save_pretrained(tmp_path)
    return Tokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    ours, reference = both(tmp_path, TEMPLATES[name])
    for call, options in CALLS.items():
        expected = reference.apply_chat_template(**options, tokenize=False)
        assert ours.apply_chat_template(**options, tokenize=False) == expected, call
        encoding = ours.apply_chat_template(**options)
        assert not isinstance(encoding, str)
        assert encoding["input_ids"] == reference.apply_chat_template(**options)["input_ids"], call


def test_several_templates(tmp_path: Path) -> None:
    ours, reference = both(tmp_path, {"default": "D{{ messages | length }}", "tool_use": "T", "other": "O"})
    for options in ({}, {"tools": [TOOL]}, {"chat_template": "other"}, {"chat_template": "{{ 1 + 1 }}"}):
        expected = reference.apply_chat_template([USER], tokenize=False, **options)
        assert ours.apply_chat_template([USER], tokenize=False, **options) == expected


def test_templates_within_the_config(tmp_path: Path) -> None:
    """The forms that older versions wrote, and none that is the default."""
    ours, _ = both(tmp_path, "file")
    (tmp_path / "chat_template.jinja").unlink()
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"chat_template": "config"}), encoding="utf-8")
    assert Tokenizer.from_pretrained(tmp_path).apply_chat_template([USER], tokenize=False) == "config"
    listed = [{"name": "one", "template": "1"}, {"name": "two", "template": "2"}]
    path.write_text(json.dumps(config | {"chat_template": listed}), encoding="utf-8")
    ours = Tokenizer.from_pretrained(tmp_path)
    assert ours.apply_chat_template([USER], tokenize=False, chat_template="two") == "2"
    with pytest.raises(InputError, match="none is the default; pass chat_template= with one of one, two"):
        ours.apply_chat_template([USER])


@pytest.mark.parametrize(
    ("template", "messages", "options", "message"),
    [
        ("x", [], {}, "the chat has no message"),
        ("x", ["hello"], {}, "message 0 of the chat is 'hello', expected a dict"),
        ("x", [USER], {"continue_final_message": True, "add_generation_prompt": True}, "exclude each other"),
        ("x", [USER], {"tools": ["find"]}, "a tool is 'find', expected its JSON schema"),
        ("x", [USER], {"documents": ["text"]}, "a document is 'text', expected a dict"),
        (
            "content",
            [{"role": "user"}],
            {"continue_final_message": True},
            "has no 'content' to continue; it has 'role'",
        ),
        ("x", [USER], {"continue_final_message": True}, "which the chat template does not read"),
        ("content", [USER], {"continue_final_message": True}, "leaves out the end of the last message"),
        ("{{ raise_exception('Too short.') }}", [USER], {}, "does not take this chat: Too short."),
        ("{% for %}", [USER], {}, "no valid Jinja"),
        ("{{ messages.__class__.__mro__ }}", [USER], {}, "does not take this chat: .*unsafe"),
        ("{{ messages.append(1) }}", [USER], {}, "does not take this chat: .*unsafe"),
        ("{% set ns = namespace(_x=1) %}", [USER], {}, "may not store '_x' on a namespace"),
    ],
)
def test_what_cannot_be_rendered(template: str, messages: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(template, messages, **options)


def test_a_tokenizer_without_a_template() -> None:
    with pytest.raises(InputError, match=r"has no chat template: .* pass a text"):
        Tokenizer.from_pretrained(TOKENIZERS / "gpt2").apply_chat_template([USER])


def test_without_jinja() -> None:
    program = """
        from edgepipe.tokenization.chat_template import render
        from edgepipe.errors import DependencyError
        try:
            render("x", [{"role": "user", "content": "a"}])
        except DependencyError as error:
            print(error)
    """
    assert "pip install 'edgepipe[chat]'" in run_python(program, blocked=("jinja2",))
    assert issubclass(DependencyError, ImportError)
