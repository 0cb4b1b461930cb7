"""Which graphs a checkpoint becomes: an encoder's one, a decoder's one, or the two of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.layout import DECODER, ENCODER, MODEL

if TYPE_CHECKING:
    import onnx_ir

    from edgepipe_export.checkpoint.load import LoadedCheckpoint


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How to trace.

    Attributes:
        opset: ONNX opset; None for the exporter's own choice.
        layer_outputs: Which tensors of every layer to add to an encoder's outputs.
        pooler: Whether to add an encoder's pooler output.
        standard_attention: Whether attention with a cache is in standard operators, which have kernels everywhere.
    """

    opset: int | None = None
    layer_outputs: tuple[str, ...] = ()
    pooler: bool = False
    standard_attention: bool = False


@dataclass(frozen=True, slots=True)
class TracedGraphs:
    """A checkpoint's fp32 graphs.

    Attributes:
        graphs: By their file name without suffix.
        recipe: What the manifest says of them.
    """

    graphs: Mapping[str, onnx_ir.Model]
    recipe: Mapping[str, Any]


def trace_graphs(loaded: LoadedCheckpoint, options: TraceOptions) -> TracedGraphs:
    """Trace the graphs that the checkpoint's task needs.

    Raises:
        ExportError: the model cannot be traced as it must be, or lacks an output that is wanted.
    """
    # Not at the top: the options are needed before torch is.
    from edgepipe_export.checkpoint.model_inputs import accepted_inputs
    from edgepipe_export.tracing.decoder import trace_decoder
    from edgepipe_export.tracing.encoder import POOLER, trace_encoder
    from edgepipe_export.tracing.encoder_decoder import trace_seq2seq_decoder, trace_source_encoder
    from edgepipe_export.tracing.kv_cache.cached_attention import CONCATENATED, find_cache_kind
    from edgepipe_export.tracing.passes.decompose_attention import DecomposeAttentionPass
    from edgepipe_export.tracing.passes.fuse_rotary import FuseRotaryPass
    from edgepipe_export.tracing.recurrent_decoder import trace_recurrent_decoder
    from edgepipe_export.tracing.reformer_decoder import trace_reformer_decoder

    task, model, opset = loaded.checkpoint.task, loaded.model, options.opset
    cache = {}
    if not task.generates:
        inputs = accepted_inputs(model, loaded.tokenizer.model_input_names)
        outputs = (*task.outputs, *([POOLER] if options.pooler else []))
        graphs = {MODEL: trace_encoder(model, inputs, outputs, opset, options.layer_outputs)}
    elif model.config.is_encoder_decoder:
        graphs = {ENCODER: trace_source_encoder(model, opset), DECODER: trace_seq2seq_decoder(model, opset)}
        cache = {"cache": find_cache_kind(model)}
    else:
        own = {"xlnet": trace_recurrent_decoder, "reformer": trace_reformer_decoder}
        graph, cache = own.get(model.config.model_type, trace_decoder)(model, opset)
        graphs = {MODEL: graph}
    if options.standard_attention and any([DecomposeAttentionPass()(graph).modified for graph in graphs.values()]):
        cache = {**cache, "cache": CONCATENATED}
    else:
        for each in graphs.values():
            FuseRotaryPass()(each)
    # A seed that the export was given is in the config now.
    seed = getattr(model.config, "hash_seed", None)
    hashes = {} if seed is None else {"hash_seed": seed}
    traced_opset = next(iter(graphs.values())).opset_imports[""]
    return TracedGraphs(
        graphs, {"name": "fp32", "opset": traced_opset, "attention": model.config._attn_implementation} | cache | hashes
    )
