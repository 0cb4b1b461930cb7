"""Architectures whose graph would not give PyTorch's results for every text; they are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepipe.errors import ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an architecture cannot be exported.

    Attributes:
        model_type: As in ``config.json``; None for any.
        reason: Follows "X cannot be exported exactly: ".
        applies: Whether a model is one of those; all of the type are by default.
    """

    model_type: str | None
    reason: str
    applies: Callable[[Any], bool] = lambda model: True


def _has_last_token_head(model: PreTrainedModel) -> bool:
    decides_by_last = type(model).__name__.endswith("ForSequenceClassification") and hasattr(model, "score")
    return decides_by_last and model.config.get_text_config().pad_token_id is None


REFUSALS = (
    Refusal(
        "reformer",
        "it sorts tokens into buckets at random at every call, in chunks whose number depends on the text's length",
    ),
    Refusal(
        "xlnet",
        "each of its tokens sees later ones, and what transformers keeps of them from step to step was computed when "
        "those were not there; a graph of the whole text gives other scores",
        lambda model: type(model).__name__ == "XLNetLMHeadModel",
    ),
    Refusal("funnel", "how often it pools, and with which positions, is decided in Python from the text's length"),
    Refusal("mra", "transformers computes its attention on CUDA only, and gives zeros elsewhere"),
    Refusal(
        "yoso",
        "with use_expectation false it hashes at random, on CUDA only",
        lambda model: not model.config.use_expectation,
    ),
    Refusal(
        "nystromformer",
        "with num_landmarks other than segment_means_seq_len it takes texts of exactly segment_means_seq_len tokens",
        lambda model: model.config.num_landmarks != model.config.segment_means_seq_len,
    ),
    Refusal(
        "xmod",
        "it has an adapter for each language and its config names none; set default_language in config.json",
        lambda model: model.config.default_language is None,
    ),
    Refusal(
        None,
        "its head reads the last token that is not padding, and its config has no pad_token_id, so that PyTorch takes "
        "only one text at a time; set pad_token_id in config.json",
        _has_last_token_head,
    ),
)


def require_exportable(model: PreTrainedModel) -> None:
    """Refuse a model of the table.

    Raises:
        ExportError: the model is one; the message has the reason.
    """
    for refusal in REFUSALS:
        if refusal.model_type in (None, model.config.model_type) and refusal.applies(model):
            raise ExportError(f"{type(model).__name__} cannot be exported exactly: {refusal.reason}")
