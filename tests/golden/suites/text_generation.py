"""Continuations and answers; greedy and by beams, for no two versions draw the same random numbers."""

from __future__ import annotations

from typing import Any

from tests.golden.cases import TEXTS, Case
from tests.golden.suites import Suite, in_batches, make_case
from tests.golden.suites.generators import build_generator

PLAIN = "Where is the old station?"
MIXED = [PLAIN, "Far", "Two roads lead to the river and the bridge", "You and I", "2024-02-29"]
# In the manner of ChatML and of Llama 2, with what templates use: loops, namespaces, filters, errors.
CHAT_TEMPLATE = """{%- set seen = namespace(system=false) -%}
{%- if tools %}Tools: {{ tools | tojson }}
{% endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- if not loop.first -%}{{ raise_exception('The system speaks first.') }}{%- endif -%}
{%- set seen.system = true -%}
{%- endif -%}
{%- if message.content is none -%}{%- continue -%}{%- endif -%}
{{ bos_token if loop.first }}[{{ message['role'] | upper }}] {% if message['role'] == 'assistant' -%}
{%- generation -%}{{ message['content'] | trim }}{%- endgeneration -%}
{%- else -%}{{ message['content'] | trim }}{%- endif -%} {{ eos_token if message['role'] == 'assistant' }}
{% endfor -%}
{%- if add_generation_prompt -%}[ASSISTANT] {% if thinking %}(thinks) {% endif %}{%- endif -%}
"""
USER = {"role": "user", "content": "Where is <it>?"}
CHAT = [{"role": "system", "content": "You are brief."}, USER]
PREFILLED = [*CHAT, {"role": "assistant", "content": "It is"}]
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model."""
    if model == "chats":
        return chats(model)
    greedy: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8}
    found = [
        make_case("a string", model, PLAIN, **greedy),
        make_case("a list of one", model, [PLAIN], **greedy),
        make_case("beams", model, MIXED, do_sample=False, max_new_tokens=8, num_beams=3),
        make_case("max_length", model, MIXED, do_sample=False, max_length=24),
        make_case("options when made", model, PLAIN, {"do_sample": False, "max_new_tokens": 5}),
        make_case("options when made and at the call", model, PLAIN, dict(greedy), max_new_tokens=3),
    ]
    if brief:
        return found
    found += [
        make_case(f"{options}", model, MIXED[:2], **(greedy | options))
        for options in (
            {"return_full_text": False},
            {"return_full_text": True},
            {"return_tensors": True},
            {"return_text": True},
            {"num_beams": 4, "num_return_sequences": 3},
            {"num_beams": 4, "num_return_sequences": 3, "return_tensors": True},
            {"num_beams": 3, "num_return_sequences": 2, "skip_special_tokens": False, "max_new_tokens": 20},
            {"skip_special_tokens": False},
            {"clean_up_tokenization_spaces": True},
            {"clean_up_tokenization_spaces": False},
            {"add_special_tokens": False},
            {"add_special_tokens": True},
            {"prefix": "Once upon a time"},
            {"prefix": ""},
            {"truncation": True},
            {"tokenizer_encode_kwargs": {"truncation": True, "max_length": 4}},
            {"handle_long_generation": "hole"},
            {"min_new_tokens": 6},
            {"repetition_penalty": 1.5},
            {"no_repeat_ngram_size": 2},
            {"eos_token_id": None, "max_new_tokens": 30},
        )
    ]
    found += [
        make_case("a prefix and max_length", model, MIXED, do_sample=False, prefix="Once", max_length=24),
        make_case("min_length and max_length", model, MIXED, do_sample=False, min_length=20, max_length=24),
        make_case("a long prompt, hole", model, PLAIN * 12, handle_long_generation="hole", **greedy),
    ]  # fmt: skip
    found += [make_case(f"text: {name}", model, text, **greedy) for name, text in TEXTS.items()]
    return found + in_batches(model, MIXED, **greedy)


def chats(model: str) -> list[Case]:
    """Calls with messages instead of texts."""
    greedy: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8}
    longer = [*PREFILLED, {"role": "user", "content": "And\nthen? "}]
    return [
        make_case("a chat", model, CHAT, **greedy),
        make_case("one message", model, [USER], **greedy),
        make_case("a list of chats", model, [CHAT, [USER], longer], **greedy),
        make_case("a generator of chats", model, [CHAT, [USER]], generator=True, **greedy),
        make_case("a longer chat", model, longer, **greedy),
        make_case("the answer begun", model, PREFILLED, **greedy),
        make_case("the answer begun, not continued", model, PREFILLED, continue_final_message=False, **greedy),
        make_case("the question continued", model, CHAT, continue_final_message=True, **greedy),
        make_case("new text", model, CHAT, return_full_text=False, **greedy),
        make_case("new text of an answer begun", model, PREFILLED, return_full_text=False, **greedy),
        make_case("tensors", model, CHAT, return_tensors=True, **greedy),
        make_case("tools", model, [USER], tools=[TOOL], **greedy),
        make_case("variables", model, [USER], tokenizer_encode_kwargs={"thinking": True}, **greedy),
        make_case("special tokens left alone", model, CHAT, add_special_tokens=True, **greedy),
        make_case("several answers", model, CHAT, num_beams=3, num_return_sequences=2, **greedy),
        make_case("max_length does not cut", model, [USER], do_sample=False, max_length=40),
        make_case("max_length does not cut, with new tokens", model, CHAT, max_length=12, **greedy),
        make_case("truncated", model, CHAT, truncation=True, max_length=12, **greedy),
        make_case("a text after all", model, PLAIN, **greedy),
        make_case(
            "other keys", model, [{"role": "user", "content": "Hi", "name": "Zoë", "tool_calls": None}], **greedy
        ),
        *in_batches(model, [CHAT, [USER], longer, PREFILLED], **greedy),
    ]


SUITE = Suite(
    task="text-generation",
    models={
        "gpt2": {
            # Room for the bytes of odd texts.
            "plain": {"n_positions": 160, "max_position_embeddings": 160},
            "its own length": {"generation": {"max_length": 30, "do_sample": False, "num_beams": 2}},
        },
        "llama": {
            "plain": {"max_position_embeddings": 160},
            "chats": {"chat_template": CHAT_TEMPLATE, "max_position_embeddings": 256},
        },
    },
    cases=cases,
    ranked=False,
    build=build_generator,
)
