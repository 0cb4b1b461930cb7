"""sentence-transformers' own best files: ``CHECKPOINT TEXTS FOLDER BACKEND`` writes FOLDER, with fp32 and int8.

On ``onnx`` int8 is dynamic, for processors with VNNI. On ``openvino`` NNCF quantizes with activations, on the texts of
a file. Both are what its guide shows. It runs in the environment of optimum-onnx, or in that of optimum-intel.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from sentence_transformers import (
    SentenceTransformer,
    export_dynamic_quantized_onnx_model,
    export_static_quantized_openvino_model,
)

checkpoint, texts, folder, backend = sys.argv[1:]
model = SentenceTransformer(checkpoint, device="cpu", backend=backend, model_kwargs={"export": True})
model.save_pretrained(folder)
if backend == "onnx":
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", folder, file_suffix="int8")
else:
    from optimum.intel import OVQuantizationConfig

    settings = OVQuantizationConfig(num_samples=len(Path(texts).read_text(encoding="utf-8").splitlines()))
    with tempfile.TemporaryDirectory() as data:  # a folder with a file of texts is a data set
        shutil.copy(texts, data)
        export_static_quantized_openvino_model(
            model, settings, folder, data, "default", "train", "text", file_suffix="int8"
        )
