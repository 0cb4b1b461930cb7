"""Tiny bundles that write, for servers in tests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from edgepipe_export import export
from tests.runtime.probed_bundle import sign
from tests.tiny import TOKENIZERS
from tests.tiny.generation import export_generative
from tests.tiny.generative import build_generative

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# More tokens than any test waits for; the model itself has no limit.
CHAT_LENGTH = 4096
# Of a model with texts of ours.
SCRIPT_LENGTH = 512


def make_writer(folder: Path, family: str = "gpt2") -> Path:
    """A model without a chat template that takes 64 tokens; its bundle is called as its family."""
    _, _, bundle = export_generative(family, folder)
    return bundle.path.rename(folder / family)


def make_chat(folder: Path, template: str = CHAT_TEMPLATE, length: int = CHAT_LENGTH) -> Path:
    """A Llama with a chat template, called ``chat``."""
    model, tokenizer = build_generative("llama", max_position_embeddings=length)
    tokenizer.model_max_length = length
    tokenizer.chat_template = template
    export(model, folder / "chat", task="text-generation", tokenizer=tokenizer, verify=False, progress=False)
    return folder / "chat"


def copy_with_template(bundle: Path, name: str, template: str) -> Path:
    """The same model with another chat template, and another name."""
    copied = bundle.with_name(name)
    shutil.copytree(bundle, copied)
    (copied / "chat_template.jinja").write_text(template, encoding="utf-8")
    sign(copied)
    return copied


def make_scripted(folder: Path, template: str, script: Mapping[str, str], **options: Any) -> Path:
    """A model called ``scripted`` that answers each of some messages of a user with a text of ours, greedily.

    Its next token depends on the place alone. So answers must not overlap: the message of each has more tokens than
    there are up to the end of the answer before.

    Args:
        folder: Where the bundle is written.
        template: Its chat template.
        script: Answers by messages, the shortest message first.
        **options: What else the template is given.
    """
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / "gpt2")
    tokenizer.chat_template = template
    tokenizer.model_max_length = SCRIPT_LENGTH
    config = AutoConfig.for_model(
        "gpt2", vocab_size=len(tokenizer), n_positions=SCRIPT_LENGTH, n_embd=SCRIPT_LENGTH, n_layer=1, n_head=4,
        n_inner=8, tie_word_embeddings=False, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        places = torch.linalg.qr(torch.randn(SCRIPT_LENGTH, SCRIPT_LENGTH, generator=torch.Generator().manual_seed(0)))[
            0
        ]
        model.transformer.wpe.weight.copy_(places)
        free = 0
        for message, answer in script.items():
            chat = [{"role": "user", "content": message}]
            length = len(tokenizer.apply_chat_template(chat, add_generation_prompt=True, **options)["input_ids"])
            assert length > free, f"{message!r} needs {free - length + 1} more tokens"
            ids = [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]
            for place, token in enumerate(ids, length - 1):
                model.lm_head.weight[token] += places[place]
            free = length + len(ids)
    path = folder / "scripted"
    export(model, path, task="text-generation", tokenizer=tokenizer, verify=False, progress=False)
    return path
