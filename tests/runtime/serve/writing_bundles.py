"""Tiny bundles that write, for servers in tests."""

from __future__ import annotations

from pathlib import Path

from edgepipe_export import export
from tests.tiny.generation import export_generative
from tests.tiny.generative import build_generative

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# More tokens than any test waits for; the model itself has no limit.
CHAT_LENGTH = 4096


def make_writer(folder: Path, family: str = "gpt2") -> Path:
    """A model without a chat template that takes 64 tokens; its bundle is called as its family."""
    _, _, bundle = export_generative(family, folder)
    return bundle.path.rename(folder / family)


def make_chat(folder: Path) -> Path:
    """A Llama with a chat template, called ``chat``."""
    model, tokenizer = build_generative("llama", max_position_embeddings=CHAT_LENGTH)
    tokenizer.model_max_length = CHAT_LENGTH
    tokenizer.chat_template = CHAT_TEMPLATE
    export(model, folder / "chat", task="text-generation", tokenizer=tokenizer, verify=False, progress=False)
    return folder / "chat"
