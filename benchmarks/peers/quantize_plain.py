"""What anybody would do with onnxruntime alone: ``BUNDLE FOLDER`` writes a directory in transformers.js's layout.

``onnx/model.onnx`` is the fp32 graph with its weights inside, and ``onnx/model_quantized.onnx`` what `quantize_dynamic`
makes of it, per channel: onnxruntime by hand and transformers.js read the same files.
"""

import json
import shutil
import sys
from pathlib import Path

import onnx
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

bundle, folder = map(Path, sys.argv[1:])
graph = folder / "onnx" / "model.onnx"
graph.parent.mkdir(parents=True)
onnx.save(onnx.load(bundle / "onnx" / "model.onnx"), graph)
prepared = folder / "prepared.onnx"
quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
quantize_dynamic(prepared, graph.with_name("model_quantized.onnx"), per_channel=True)
prepared.unlink()
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(bundle / name, folder)
# Without what a bundle tells transformers.js of its own files.
config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
config.pop("transformers.js_config", None)
(folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
