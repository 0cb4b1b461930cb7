"""The rooms of the two packages, and which of them a room may import.

A room is a folder directly in a package, or a file there. To add one: a line here, a line in docs/architecture.md.
"""

from __future__ import annotations

# What every room of the runtime may import.
FOUNDATION = "errors arguments numerics"

# A room may import what stands behind it, and itself. A name with a dot is one module of a room.
RUNTIME = {
    "errors": "",
    "arguments": "errors",
    "numerics": "",
    "text_table": "",
    "bundle": "",
    "backend": "bundle.layout bundle.integrity",
    "tokenization": "bundle.integrity",
    "models": "bundle backend",
    "embeddings": "bundle models",
    "generation": "tokenization",
    "pipelines": "bundle backend tokenization models embeddings generation",
    "benchmarking": "text_table bundle backend tokenization models generation pipelines",
    "cli": "text_table bundle backend tokenization models generation pipelines benchmarking",
}
EXPORTER = {
    "requirements": "",
    "checkpoint": "requirements",
    "tracing": "checkpoint",
    "quantization": "tracing",
    "calibration": "checkpoint",
    "output": "requirements calibration checkpoint quantization tracing",
    "evaluation": "calibration checkpoint tracing quantization output",
    "selection": "calibration checkpoint quantization evaluation output",
    "reporting": "evaluation selection output",
    "exporter": "requirements calibration checkpoint tracing quantization output evaluation selection",
    "verifier": "requirements calibration checkpoint quantization output evaluation",
}
