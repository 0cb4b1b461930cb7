"""Which options of a task a client may set.

A pipeline trusts its caller, a server does not know who asks. What may take memory without bounds is left out here
(widths in a template, padding where a model has no limit), and so is what no JSON can be (functions, objects).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepipe.errors import InputError
from edgepipe.generation.config import CHECKS
from edgepipe.generation.logits.constraints.constraint import GRAMMARS
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.options import check_options
from edgepipe.serve.call import RefusedError
from edgepipe.serve.settings import Limits

_CODE = {"prefix_allowed_tokens_fn", "logits_processor", "stopping_criteria"}
_SEARCH = {*CHECKS} - _CODE
# What a text is held to is for models without an encoder.
_TEXT2TEXT = (_SEARCH - {*GRAMMARS}) | {"clean_up_tokenization_spaces", "truncation", "stop_sequence"}

# By the task's name.
CLIENT_OPTIONS: Mapping[str, frozenset[str]] = {
    "text-classification": frozenset({"top_k", "function_to_apply", "truncation", "max_length"}),
    "token-classification": frozenset(
        {"aggregation_strategy", "ignore_labels", "stride", "is_split_into_words", "delimiter"}
    ),
    "question-answering": frozenset(
        {"top_k", "doc_stride", "max_answer_len", "max_seq_len", "max_question_len", "handle_impossible_answer",
         "align_to_words"}
    ),
    "fill-mask": frozenset({"top_k", "targets"}),
    "zero-shot-classification": frozenset({"candidate_labels", "hypothesis_template", "multi_label"}),
    "feature-extraction": frozenset({"truncation"}),
    "sentence-similarity": frozenset({"similarity"}),
    "text-generation": frozenset(
        _SEARCH
        | {"return_full_text", "skip_special_tokens", "clean_up_tokenization_spaces", "prefix", "stop_sequence",
           "handle_long_generation", "continue_final_message", "tools", "documents", "add_special_tokens",
           "truncation"}
    ),
    "text2text-generation": frozenset(_TEXT2TEXT),
    "summarization": frozenset(_TEXT2TEXT),
    "translation": frozenset(_TEXT2TEXT | {"src_lang", "tgt_lang"}),
}  # fmt: skip


def check_client_options(task: Task, options: Mapping[str, Any], limits: Limits) -> None:
    """Refuse options that the task has not, or has for its own caller alone.

    Args:
        task: The pipeline that would get them.
        options: What a client sent.
        limits: How many labels and targets it may name.

    Raises:
        InputError: an option is unknown here.
        RefusedError: a list is longer than a request's inputs may be.
    """
    check_options(options, sorted(CLIENT_OPTIONS[task.name]), task.name)
    for name in ("candidate_labels", "targets", "ignore_labels"):
        value = options.get(name)
        count = value.count(",") + 1 if isinstance(value, str) else len(value) if isinstance(value, list) else 0
        if count > limits.texts:
            raise RefusedError(413, f"{count} {name} are more than the {limits.texts} of a request; send fewer")
    template = options.get("hypothesis_template")
    if isinstance(template, str):
        rest = template.replace("{}", "", 1)
        if rest == template or "{" in rest or "}" in rest:
            raise InputError(f"hypothesis_template must have one {{}} for the label, got {template!r:.80}")
