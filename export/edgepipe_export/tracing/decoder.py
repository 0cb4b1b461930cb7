"""Decoder-only models: one graph for the prompt and for every step after it.

Inputs are ``input_ids``, ``attention_mask`` (past and new), ``position_ids`` where the model takes it,
``past_key_values.{i}.key|value`` (of length 0 at the prompt) and, optional, ``num_logits_to_keep``; outputs ``logits``
and ``present.{i}.key|value``.

Layers that see a window of the last tokens alone need not have keys and values of those before it. With the optional
input ``past_window_length``, int64[1], they have as many as it says, the last ones. Without it they have those of all
tokens, as the other layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Set
from typing import TYPE_CHECKING, Any

import torch

from edgepipe.bundle.layout import LOGITS_TO_KEEP, PAST, PAST_SEQUENCE_LENGTH, PAST_WINDOW_LENGTH
from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.model_inputs import cache_name
from edgepipe_export.tracing.dynamic_axes import BATCH, TOKEN_AXES, Axes
from edgepipe_export.tracing.kv_cache.attention_windows import find_window
from edgepipe_export.tracing.kv_cache.cache_layers import GroupQueryCache, sample_past
from edgepipe_export.tracing.kv_cache.cached_attention import NO_CACHE, SHARED, cached_attention, find_cache_kind
from edgepipe_export.tracing.onnx_export import TracedModule, clean_up, export_to_onnx
from edgepipe_export.tracing.passes.make_input_optional import MakeInputOptionalPass
from edgepipe_export.tracing.passes.read_length_from_input import ReadLengthFromInputPass

if TYPE_CHECKING:
    import onnx_ir
    from transformers import PreTrainedModel

    Layers = list[dict[str, torch.Tensor]]


# Two rows, new tokens and past ones in numbers that are not alike: torch.export takes a dimension of 1 for a constant,
# and equal dimensions for one.
_BATCH, _NEW, _PAST = 2, 5, 7
# Room for the keys and values of a window, and how many are there; the input of which only the length is read.
_ROOM, _HELD = 6, 3
_WINDOW_TOKENS = "window_tokens"


class CausalDecoder(TracedModule):
    """A causal language model that takes and gives its cache as tensors with names.

    Attributes:
        cache_kind: See :mod:`edgepipe_export.tracing.kv_cache.cached_attention`.
        windowed: The layers that may have keys and values of the last tokens alone.
    """

    def __init__(self, model: PreTrainedModel, cache_kind: str, windowed: Set[int] = frozenset()) -> None:
        super().__init__(model)
        self.cache_kind = cache_kind
        self.windowed = windowed

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        past_key_values: Layers,
        num_logits_to_keep: torch.Tensor,
        window_tokens: torch.Tensor | None = None,
        **positions: torch.Tensor,
    ) -> dict[str, Any]:
        """Run the model.

        Args:
            input_ids: int64[batch, new].
            attention_mask: int64[batch, past + new].
            past_key_values: A layer's ``key`` and ``value`` each, float32[batch, kv_heads, past, head_dim].
            num_logits_to_keep: int64[], how many of the last positions to give scores for; 0 for all.
            window_tokens: As long as the past of the layers that see a window; None where there are none.
            **positions: ``position_ids``, int64[batch, new], where the model takes them.

        Returns:
            ``logits``, float32[batch, kept, vocabulary], and ``present``, like `past_key_values` with the new tokens.
        """
        pairs = [(layer["key"], layer["value"]) for layer in past_key_values]
        cache = self._cache(pairs, input_ids, attention_mask, window_tokens)
        result = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **positions,
            **({} if cache is None else {cache_name(self.model): cache, "use_cache": True}),
            logits_to_keep=last_positions(input_ids.shape[1], num_logits_to_keep),
            return_dict=True,
        )
        if cache is None:
            return {"logits": result["logits"]}
        presents = [
            layer.present if self.cache_kind == SHARED else (layer.keys, layer.values) for layer in cache.layers
        ]
        if None in presents:
            raise ExportError(f"{type(self.model).__name__} computes attention past transformers' interface")
        layers = [{"key": keys, "value": values} for keys, values in presents]
        return {"logits": result["logits"], "present": layers}

    def _cache(
        self,
        past: list[tuple[torch.Tensor, torch.Tensor]],
        ids: torch.Tensor,
        mask: torch.Tensor,
        window_tokens: torch.Tensor | None,
    ) -> Any:
        if not past:
            return None
        if self.cache_kind == SHARED:
            batch, new, total = ids.shape[0], ids.shape[1], mask.shape[1]
            if window_tokens is None:
                return GroupQueryCache(past, batch, total, new)
            held = window_tokens.shape[0]
            torch._check(held + new <= total)  # type: ignore[no-untyped-call]
            return GroupQueryCache(past, batch, total, new, windowed=self.windowed, held=held)
        from transformers.cache_utils import DynamicCache

        # Without the config: it would make layers that drop what is out of their window, which the mask hides as well.
        return DynamicCache(past)


def last_positions(new: int, keep: torch.Tensor) -> torch.Tensor:
    """Indices of the last positions, int64[kept]; all of them where `keep`, int64[], is 0, as in transformers."""
    length = torch.full((), new)
    count = (length - (length - keep) % length).item()
    torch._check(count >= 1)  # type: ignore[no-untyped-call]
    torch._check(count <= new)  # type: ignore[no-untyped-call]
    return torch.arange(count) + (new - count)


def takes_position_ids(model: PreTrainedModel) -> bool:
    """Whether the model takes each token's position."""
    return "position_ids" in inspect.signature(model.forward).parameters


def _run_on_one_token(model: PreTrainedModel) -> Any:
    use_cache = {"use_cache": True} if "use_cache" in inspect.signature(model.forward).parameters else {}
    with torch.no_grad():
        return model(input_ids=torch.ones((1, 1), dtype=torch.int64), **use_cache)


def sample_inputs(model: PreTrainedModel) -> dict[str, Any]:
    """Inputs to trace with: int64[2, 5] ids after a past of 7, the second row padded on the left."""
    cache = getattr(_run_on_one_token(model), cache_name(model), None)
    # Some that may read a source make the cache for it without one. The first GPT has no cache.
    cache = getattr(cache, "self_attention_cache", cache)
    layers = () if cache is None else cache.layers
    total = (_PAST if layers else 0) + _NEW
    mask = torch.ones((_BATCH, total), dtype=torch.int64)
    mask[1, :2] = 0
    vocabulary = int(model.config.get_text_config().vocab_size)
    inputs: dict[str, Any] = {
        "input_ids": torch.arange(_BATCH * _NEW).reshape(_BATCH, _NEW) % vocabulary,
        "attention_mask": mask,
    }
    if takes_position_ids(model):
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -_NEW:]
    inputs["past_key_values"] = [sample_past(layer, _BATCH, _PAST) for layer in layers]
    inputs[LOGITS_TO_KEEP] = torch.tensor(1)
    return inputs


def decoder_axes(sample: dict[str, Any], windowed: Set[int] = frozenset()) -> Axes:
    """The names of the axes that vary in the inputs of a decoder without a source, whatever its cache is made of.

    Args:
        sample: Inputs to trace with, among them ``past_key_values``: the tensors of each layer by name, all of them
            [batch, ..., past, ...] with the past in the third axis.
        windowed: The layers whose past has a length of its own.
    """
    layers = sample["past_key_values"]
    lengths = [PAST_WINDOW_LENGTH if index in windowed else PAST_SEQUENCE_LENGTH for index in range(len(layers))]
    return {
        **({_WINDOW_TOKENS: {0: _WINDOW_TOKENS}} if windowed else {}),
        "input_ids": TOKEN_AXES,
        "attention_mask": {0: BATCH, 1: "total_sequence_length"} if layers else TOKEN_AXES,
        "position_ids": TOKEN_AXES,
        **{
            f"{PAST}{index}.{name}": {0: BATCH, 2: lengths[index]}
            for index, layer in enumerate(layers)
            for name in layer
        },
    }


def _limit_to_window(sample: dict[str, Any], windowed: Set[int]) -> None:
    """Have the past of some layers be that of a window, in a sample to trace with."""
    for index in windowed:
        layer = sample["past_key_values"][index]
        for name, tensor in layer.items():
            layer[name] = tensor[:, :, :1].repeat(1, 1, _ROOM, 1)
    if windowed:
        sample[_WINDOW_TOKENS] = torch.zeros(_HELD)


def trace_decoder(model: PreTrainedModel, opset: int | None = None) -> tuple[onnx_ir.Model, dict[str, Any]]:
    """Trace a causal language model with its cache.

    Args:
        model: In evaluation mode, fp32, with eager attention.
        opset: ONNX opset; by default the exporter's own choice.

    Returns:
        The graph, as the module describes it, and what a recipe says of its cache: ``cache``, its kind
        (:mod:`edgepipe_export.tracing.kv_cache.cached_attention`), and ``window`` where layers may keep so many tokens.

    Raises:
        ExportError: the model's attention cannot be traced with that kind of cache.
    """
    sample = sample_inputs(model)
    layers = len(sample["past_key_values"])
    kind = find_cache_kind(model) if layers else NO_CACHE
    window, windowed = (find_window(model, layers) if kind == SHARED else None) or (None, frozenset())
    _limit_to_window(sample, windowed)
    axes = decoder_axes(sample, windowed)
    with cached_attention(model, kind):
        program = export_to_onnx(model, CausalDecoder(model, kind, windowed), sample, axes, opset)
    clean_up(program, axes)
    MakeInputOptionalPass(LOGITS_TO_KEEP, 0)(program)
    if window is None:
        return program, {"cache": kind}
    first = f"{PAST}{min(windowed)}.key"
    ReadLengthFromInputPass(_WINDOW_TOKENS, PAST_WINDOW_LENGTH, first, axis=2)(program)
    return program, {"cache": kind, "window": window}
