"""Which graphs a checkpoint becomes: an encoder's one, a decoder's one, or the two of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.directory import DECODER, ENCODER, MODEL

if TYPE_CHECKING:
    import onnx_ir

    from edgepipe_export.checkpoint.load import Loaded


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to trace.

    Attributes:
        opset: ONNX opset; None for the exporter's own choice.
        series: Which tensors of every layer to add to an encoder's outputs.
        pooler: Whether to add an encoder's pooler output.
        standard_attention: Whether attention with a cache is in standard operators, which have kernels everywhere.
    """

    opset: int | None = None
    series: tuple[str, ...] = ()
    pooler: bool = False
    standard_attention: bool = False


@dataclass(frozen=True, slots=True)
class Traced:
    """A checkpoint's fp32 graphs.

    Attributes:
        graphs: By their file name without suffix.
        recipe: What the manifest says of them.
    """

    graphs: Mapping[str, onnx_ir.Model]
    recipe: Mapping[str, Any]


def trace_graphs(loaded: Loaded, wanted: Wanted) -> Traced:
    """Trace the graphs that the checkpoint's task needs.

    Raises:
        ExportError: the model cannot be traced as it must be, or lacks an output that is wanted.
    """
    from edgepipe_export.tracing.passes.decompose_attention import decompose_attention

    task = loaded.checkpoint.task
    more: dict[str, Any] = {}
    if not task.generates:
        graphs = {MODEL: _encoder(loaded, wanted)}
    elif loaded.model.config.is_encoder_decoder:
        graphs, more = _encoder_decoder(loaded, wanted)
    else:
        graphs, more = _decoder(loaded, wanted)
    if wanted.standard_attention and any([decompose_attention(graph) for graph in graphs.values()]):
        more["cache"] = "concatenated"
    opset = next(iter(graphs.values())).opset_imports[""]
    return Traced(
        graphs, {"name": "fp32", "opset": opset, "attention": loaded.model.config._attn_implementation} | more
    )


def _encoder(loaded: Loaded, wanted: Wanted) -> onnx_ir.Model:
    from edgepipe_export.checkpoint.model_inputs import accepted_inputs
    from edgepipe_export.tracing.encoder import POOLER, trace

    inputs = accepted_inputs(loaded.model, loaded.tokenizer.model_input_names)
    outputs = (*loaded.checkpoint.task.outputs, *([POOLER] if wanted.pooler else []))
    return trace(loaded.model, inputs, outputs, wanted.opset, wanted.series)


def _decoder(loaded: Loaded, wanted: Wanted) -> tuple[dict[str, onnx_ir.Model], dict[str, Any]]:
    from edgepipe_export.tracing.decoder import cache_kind, trace

    kind = cache_kind(loaded.model)
    return {MODEL: trace(loaded.model, wanted.opset, shared=kind == "shared")}, {"cache": kind}


def _encoder_decoder(loaded: Loaded, wanted: Wanted) -> tuple[dict[str, onnx_ir.Model], dict[str, Any]]:
    from edgepipe_export.tracing.cached_attention import can_have_cached_attention
    from edgepipe_export.tracing.encoder_decoder import trace_decoder, trace_encoder

    graphs = {ENCODER: trace_encoder(loaded.model, wanted.opset), DECODER: trace_decoder(loaded.model, wanted.opset)}
    return graphs, {"cache": "shared" if can_have_cached_attention(loaded.model) else "concatenated"}
