"""The option ``assistant_model``: which pipelines may guess for which."""

from __future__ import annotations

from typing import Any

from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.pipelines.generative import GenerativeTask


def read_assistant(value: Any, task: GenerativeTask, config: GenerationConfig) -> Decoder | None:
    """The decoder of an assistant; None where there is none.

    Args:
        value: What was passed.
        task: The pipeline that it guesses for.
        config: The options of the search.

    Raises:
        InputError: it cannot guess for this pipeline, or an option contradicts it.
    """
    if value is None:
        return None
    if not isinstance(value, GenerativeTask) or value.name != "text-generation":
        shown = f"a pipeline for {value.name}" if isinstance(value, GenerativeTask) else f"{value!r:.60}"
        raise InputError(
            'assistant_model must be a pipeline for text-generation, pipeline("text-generation", BUNDLE), got ' + shown
        )
    for name, given, usual in (
        ("num_beams", config.num_beams, 1),
        ("num_return_sequences", config.num_return_sequences, 1),
        ("prompt_lookup_num_tokens", config.prompt_lookup_num_tokens, None),
    ):
        if given != usual:
            raise InputError(f"assistant_model contradicts {name}={given}; pass {name}={usual}, or no assistant")
    if not value.decoder.joins:
        raise InputError(
            f"assistant_model {value.decoder.directory} cannot take tokens back, as an assistant must; take a "
            "decoder-only model that edgepipe exported, on a processor"
        )
    if not task.has_tokens_of(value):
        raise InputError(
            f"assistant_model {value.decoder.directory} has another tokenizer than {task.decoder.directory}; take a "
            "model that was trained with the same one"
        )
    return value.decoder
