"""SmoothQuant: outlier channels of activations are made smaller, and the rows of the weights that they meet larger.

A scale for a whole tensor of activations leaves few steps to its ordinary channels where some are much larger. So
every channel is divided by a factor, and the rows of the weights multiplied by it: the products stay what they were
(Xiao et al. 2023, SmoothQuant, https://arxiv.org/abs/2211.10438, equation 4).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe_export.quantization.methods.activations import channel_maxima
from edgepipe_export.quantization.recipe import FP32, QuantizationJob
from edgepipe_export.quantization.weights.layers import WeightUse, added_bias, find_layers, find_uses
from edgepipe_export.tracing.graphs.graph_editing import add_constant

if TYPE_CHECKING:
    from numpy.typing import NDArray


def smooth_activations(model: onnx_ir.Model, job: QuantizationJob, strength: float) -> float:
    """Smooth the layers that a job quantizes, in place, with its batches.

    Layers that stay fp32 are left alone, and so are weights that several products share: each would need factors of
    its own.

    Returns:
        The strength that was used: 0 without batches.
    """
    if not job.batches or not strength:
        return 0.0
    excluded = job.layers_in(FP32)
    chosen = {
        layer.name
        for layer in find_layers(model)
        if layer.name not in excluded and len(layer.products) == 1 and not layer.tables
    }
    SmoothActivationsPass(channel_maxima(job.source, job.batches), strength, chosen)(model)
    return strength


@dataclass(frozen=True)
class SmoothActivationsPass(InPlacePass):
    """Smooth the inputs of products.

    Attributes:
        maxima: The largest magnitude of each channel; see
            :func:`~edgepipe_export.quantization.methods.activations.channel_maxima`.
        strength: How much of the range goes into the weights: 0 none, 1 all. The paper calls it alpha.
        layers: Names of the layers to smooth, each used by one product.
    """

    maxima: Mapping[str, NDArray[np.float32]]
    strength: float
    layers: Collection[str]

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Smooth the inputs."""
        graph = model.graph
        by_input: dict[str, list[WeightUse]] = {}
        for use in find_uses(graph):
            if not use.is_table and use.weight.name in self.layers:
                by_input.setdefault(use.activations.name or "", []).append(use)
        for name, uses in by_input.items():
            weight_maxima = np.max([np.abs(use.array()).max(1) for use in uses], axis=0)
            factors = _smoothing_factors(self.maxima[name], weight_maxima, self.strength)
            activations = uses[0].activations
            if not (_divide_norm(activations, uses, factors) or _divide_values(graph, activations, uses, factors)):
                activations = _divide_by_node(graph, activations, uses, factors)
            for use in uses:
                use.node.replace_input_with(0, activations)
                _store(use, use.array() * factors[:, None])
        return PassResult(model, modified=bool(by_input))


def _smoothing_factors(
    activations: NDArray[np.float32], weights: NDArray[np.float32], strength: float
) -> NDArray[np.float32]:
    """The factor of each channel, from the largest magnitudes of both sides."""
    least = np.finfo(np.float32).tiny
    factors = np.maximum(activations, least) ** strength / np.maximum(weights, least) ** (1 - strength)
    factors[(activations == 0) | (weights == 0)] = 1.0
    factors /= np.exp(np.log(factors).mean())  # the same for all would change nothing
    return factors.astype(np.float32)


def _store(use: WeightUse, array: NDArray[np.float32]) -> None:
    """Let a weight be float32[inputs, outputs]."""
    assert use.weight.const_value is not None
    use.weight.const_value = onnx_ir.tensor(
        np.ascontiguousarray(array.T if use.transposed else array), name=use.weight.name
    )


def _divide_by_node(
    graph: onnx_ir.Graph, activations: onnx_ir.Value, uses: list[WeightUse], factors: NDArray[np.float32]
) -> onnx_ir.Value:
    """The activations with each channel divided by its factor."""
    inverse = add_constant(graph, f"{activations.name}_smoothing", (1 / factors).astype(np.float32))
    node = onnx_ir.node("Mul", [activations, inverse], name=f"{activations.name}_smoothed")
    value = node.outputs[0]
    value.name, value.shape, value.type = node.name, activations.shape, activations.type
    graph.insert_before(uses[0].node, node)
    return value


def _divide_values(
    graph: onnx_ir.Graph, activations: onnx_ir.Value, uses: list[WeightUse], factors: NDArray[np.float32]
) -> bool:
    """Divide the columns of the product that makes the values which attention averages, if nothing else reads them."""
    attention = activations.producer()
    if attention is None or attention.op_type != "Attention" or not _only_read_by(activations, uses):
        return False
    states = attention.inputs[2]
    add = None if states is None else states.producer()
    product = None if add is None or add.inputs[0] is None else add.inputs[0].producer()
    if states is None or len(states.uses()) != 1 or product is None:
        return False
    bias = added_bias(product)
    use = next((use for use in find_uses(graph) if use.node is product), None)
    if bias is None or bias[0] is not add or use is None or len(use.weight.uses()) != 1:
        return False
    numbers, array = bias[1].const_value, use.array()
    if numbers is None or numbers.size != factors.size or array.shape[1] != factors.size:
        return False
    _store(use, array / factors)
    # A vector of its own: layers may share theirs, one of zeros for instance.
    divided = add_constant(graph, f"{activations.name}_smoothed_bias", numbers.numpy() / factors)
    add.replace_input_with(list(add.inputs).index(bias[1]), divided)
    return True


def _only_read_by(activations: onnx_ir.Value, uses: list[WeightUse]) -> bool:
    nodes = {usage.node for usage in activations.uses()}
    return not activations.is_graph_output() and nodes == {use.node for use in uses}


def _divide_norm(activations: onnx_ir.Value, uses: list[WeightUse], factors: NDArray[np.float32]) -> bool:
    """Divide the weights of the layer norm that makes the activations, if nothing else reads them."""
    norm = activations.producer()
    if norm is None or norm.op_type != "LayerNormalization" or not _only_read_by(activations, uses):
        return False
    for value in norm.inputs[1:]:
        if value is None:
            continue
        if value.const_value is None or len(list(value.uses())) > 1:
            return False
    for value in norm.inputs[1:]:
        if value is not None and value.const_value is not None:
            value.const_value = onnx_ir.tensor(value.const_value.numpy() / factors, name=value.name)
    return True
