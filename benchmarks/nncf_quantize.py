"""NNCF's int8 of an fp32 graph, as optimum-intel asks for it: ``GRAPH CALIBRATION OUT``.

CALIBRATION is a .npz of the graph's inputs, ``<number>.<input>`` for each text. It runs in an environment that has
``nncf`` and ``openvino``: ``pip install nncf==3.4.0 openvino==2026.4.1``.
"""

import sys
from pathlib import Path

import nncf
import numpy as np
import openvino

graph, calibration, out = sys.argv[1:]
model = openvino.Core().read_model(graph)
names = [port.get_any_name() for port in model.inputs]
with np.load(calibration) as arrays:
    texts = [
        {name: arrays[f"{number}.{name}"] for name in names}
        for number in range(len({key.partition(".")[0] for key in arrays}))
    ]
quantized = nncf.quantize(
    model,
    nncf.Dataset(texts),
    subset_size=len(texts),
    model_type=nncf.ModelType.TRANSFORMER,
    preset=nncf.QuantizationPreset.MIXED,
)
Path(out).parent.mkdir(parents=True, exist_ok=True)
openvino.save_model(quantized, out, compress_to_fp16=False)
