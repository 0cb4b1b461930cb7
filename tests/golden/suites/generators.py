"""What the suites of tasks that write text share: their models."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.tiny.generative import build_generative


def build_generator(
    architecture: str,
    *,
    task: str,
    generation: dict[str, Any] | None = None,
    chat_template: str | None = None,
    **arguments: Any,
) -> tuple[Any, Any]:
    """A tiny model and its tokenizer.

    Args:
        architecture: A name in `tests.tiny.generative.FAMILIES`.
        task: Says nothing here; the families are told apart by what they are.
        generation: Goes into the model's generation config.
        chat_template: Of the tokenizer.
        **arguments: Of `build_generative`.
    """
    # 4.57's pipelines change what the config has for their task.
    model, tokenizer = build_generative(architecture, **deepcopy(arguments))
    for name, value in (generation or {}).items():
        setattr(model.generation_config, name, value)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return model, tokenizer
