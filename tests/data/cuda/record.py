"""Print one row of causes.json: what is observed, and what onnxruntime-gpu says, where CUDA cannot be used.

Run it with the onnxruntime-gpu in question, from the repository, once a row; a driver is put there by ::

    gcc -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o DIR/libcuda.so.1 tests/data/cuda/driver.c
    DRIVER_CUDA=12040 LD_LIBRARY_PATH=DIR PYTHONPATH=runtime python tests/data/cuda/record.py GRAPH "an old driver" 0

DRIVER_INIT, DRIVER_CUDA and DRIVER_GPUS are what it answers. Libraries are missing where the folder ``nvidia`` beside
onnxruntime is, and of another major version where that folder is one for another onnxruntime-gpu.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from edgepipe.backend.onnxruntime.cuda.cuda_diagnostics import inspect_cuda
from edgepipe.backend.onnxruntime.ort_module import load_ort, ort_errors
from edgepipe.backend.onnxruntime.providers import resolve_providers


def row(graph: str, name: str, index: int) -> dict[str, object]:
    ort = load_ort()
    ort.set_default_logger_severity(4)
    raised, started = None, []
    try:
        providers = resolve_providers(index, None)
        started = ort.InferenceSession(graph, providers=providers, enable_fallback=0).get_providers()
    except ort_errors() as error:
        raised = str(error).strip().replace(f"hostname={platform.node()}", "hostname=host")
    found = asdict(inspect_cuda())
    site = str(Path(ort.__file__).parents[1])
    found["others"] = [path.replace(site, "/site-packages") for path in found["others"]]
    return {"name": name, "gpu": index, "found": found, "raised": raised, "started": started}


if __name__ == "__main__":
    print(json.dumps(row(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
