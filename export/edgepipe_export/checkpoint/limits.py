"""The longest input a model takes, found by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.architectures import find_architecture, patch_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# RoBERTa and its kin lose padding_idx + 1 positions; no family in use loses more than this.
_MOST_RESERVED = 4


@dataclass(frozen=True, slots=True)
class Limit:
    """A hard limit on the length of the input.

    Attributes:
        tokens: The longest length that works; None where there is no limit.
        found: How, in words.
    """

    tokens: int | None
    found: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a model.

    Attributes:
        source: Of the input; of a decoder-only model, of prompt and new tokens together.
        target: Of what the decoder of an encoder-decoder writes; None for other models.
    """

    source: Limit
    target: Limit | None = None


def find_limits(model: PreTrainedModel, *, generates: bool) -> Limits:
    """Find the hard limits of a model.

    Args:
        model: The model.
        generates: Whether an encoder-decoder's decoder writes; otherwise it reads what the encoder reads.

    Raises:
        CheckpointError: the model fails at every length that was tried.
    """
    if not generates or not model.config.is_encoder_decoder:
        return Limits(find_limit(model))
    states = model.get_encoder()(torch.ones((1, 1), dtype=torch.int64))

    def decode(**inputs: torch.Tensor) -> Any:
        return model(encoder_outputs=states, decoder_input_ids=inputs["input_ids"])

    encoder, decoder = model.get_encoder(), model.get_decoder()
    return Limits(
        _find(model, encoder, encoder, "max_encoder_position_embeddings"),
        _find(model, decode, decoder, "max_decoder_position_embeddings"),
    )


def find_limit(model: PreTrainedModel) -> Limit:
    """Find the hard limit of a model: the length beyond which PyTorch fails, not the one it was trained for.

    Raises:
        CheckpointError: the model fails at every length that was tried.
    """
    # Where there is a decoder it reads the whole input too, and LED's has fewer positions than the encoder.
    most_tokens = find_architecture(model).most_tokens
    if most_tokens is not None:
        return Limit(most_tokens(model.config), "the longest text that has positions when it is filled up")
    last = model.get_decoder() if getattr(model.config, "is_encoder_decoder", False) else model
    return _find(model, model, last, "max_decoder_position_embeddings")


def _find(model: PreTrainedModel, run: Callable[..., Any], layered: nn.Module, name: str) -> Limit:
    """Find a limit.

    Args:
        model: The model.
        run: What takes ``input_ids``.
        layered: The part of the model whose layers it runs through.
        name: What the config may call the limit, beside ``max_position_embeddings``.
    """
    positions = _declared_positions(model, name)
    if positions is None:
        return Limit(None, "the config has no max_position_embeddings")
    with patch_model(model), _memory_efficient_attention(model):
        if _accepts(model, run, layered, positions + 1):
            return Limit(None, f"probed: more tokens than max_position_embeddings ({positions}) work")
        for tokens in range(positions, max(positions - _MOST_RESERVED, 1) - 1, -1):
            if _accepts(model, run, layered, tokens):
                return Limit(tokens, f"probed: {tokens} tokens work, {tokens + 1} fail")
    raise CheckpointError(
        f"the model fails at every length from {positions} tokens (max_position_embeddings) down to "
        f"{max(positions - _MOST_RESERVED, 1)}; check that config.json belongs to these weights"
    )


def _declared_positions(model: PreTrainedModel, name: str) -> int | None:
    for each in (name, "max_position_embeddings"):
        try:
            positions = getattr(model.config, each, None)
        except NotImplementedError:  # XLNet's way to say that there is none
            continue
        if isinstance(positions, int) and positions >= 1:
            return positions
    return None


class _ReachedSecondLayerError(Exception):
    """Raised by our hook to leave the model early."""


def _accepts(model: PreTrainedModel, run: Callable[..., Any], layered: nn.Module, tokens: int) -> bool:
    def leave(*_: Any) -> None:
        raise _ReachedSecondLayerError

    # Positions are looked up before or in the first layer; the layers after it see nothing new.
    layers = max((m for m in layered.modules() if isinstance(m, nn.ModuleList)), key=len, default=None)
    hook = layers[1].register_forward_pre_hook(leave) if layers is not None and len(layers) > 1 else None
    try:
        with torch.no_grad():
            run(input_ids=torch.full((1, tokens), _ordinary_id(model)))
    except _ReachedSecondLayerError:
        return True
    except (IndexError, RuntimeError, ValueError, AssertionError):
        return False  # what PyTorch raises for a position out of range depends on how the model looks it up
    finally:
        if hook is not None:
            hook.remove()
    return True


def _ordinary_id(model: PreTrainedModel) -> int:
    # RoBERTa gives padding no position of its own: a text of padding would be let through at any length.
    padding = getattr(model.config, "pad_token_id", None)
    return next(number for number in (1, 2) if number != padding)


@contextmanager
def _memory_efficient_attention(model: PreTrainedModel) -> Iterator[None]:
    """Attention that does not hold a score for every pair of tokens, where the model has it."""
    own = model.config._attn_implementation
    try:
        model.set_attn_implementation("sdpa")
    except ValueError:  # this architecture has eager attention only
        yield
        return
    try:
        yield
    finally:
        model.set_attn_implementation(own)
