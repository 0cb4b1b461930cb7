"""Which class of transformers loads a checkpoint for a task."""

from __future__ import annotations

from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES


def auto_class(auto_model: str, model_type: str) -> str:
    """The auto class that loads a model type for a task: of an encoder-decoder's body, where it can, the encoder alone.

    T5's body writes text and needs its beginning; what embeds texts, as sentence-T5 does, is its encoder.
    """
    return "AutoModelForTextEncoding" if auto_model == "AutoModel" and encoder_of(model_type) else auto_model


def encoder_of(model_type: str) -> str | None:
    """The class of the encoder of an encoder-decoder that transformers has a class for."""
    name: str = MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(model_type, "")
    return name if name.endswith("EncoderModel") else None
