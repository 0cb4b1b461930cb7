"""What anybody would do with onnxruntime alone: ``BUNDLE FOLDER`` writes ``model.onnx`` and ``model_int8.onnx``.

The first is the fp32 graph with its weights inside; the second is what `quantize_dynamic` makes of it, per channel.
"""

import sys
from pathlib import Path

import onnx
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

bundle, folder = map(Path, sys.argv[1:])
folder.mkdir()
graph = folder / "model.onnx"
onnx.save(onnx.load(bundle / "onnx" / "model.onnx"), graph)
prepared = folder / "prepared.onnx"
quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
quantize_dynamic(prepared, folder / "model_int8.onnx", per_channel=True)
prepared.unlink()
