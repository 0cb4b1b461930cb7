"""sentence-transformers' own best files on onnxruntime: ``CHECKPOINT FOLDER`` writes ``FOLDER/onnx``, fp32 and int8.

The int8 is what its guide recommends, dynamic for processors with VNNI. It runs in the environment of optimum-onnx.
"""

import sys

from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

checkpoint, folder = sys.argv[1:]
model = SentenceTransformer(checkpoint, device="cpu", backend="onnx", model_kwargs={"export": True})
model.save_pretrained(folder)
export_dynamic_quantized_onnx_model(model, "avx512_vnni", folder, file_suffix="qint8")
