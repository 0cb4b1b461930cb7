"""Who writes, beside whom each variant of ours stands, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from benchmarks.peers.sections import HERE, LLAMA, PEERS, Contender

# Models by name (benchmarks/generation/generation_checkpoints.py), and whether they run in fp32, too: the files of the
# largest would take 10 GB.
MODELS = {"gpt2": True, "llama-134m": True, "qwen2-0.5b": False}
PROMPTS = (32, 512)
EXACT = "fp32"

# Bundles of ours in the folder of a model: for onnxruntime, and for OpenVINO, whose options name the device.
BUNDLE, OPENVINO_BUNDLE = "bundle", "bundle-openvino"

# The engine is a program of benchmarks/generation/workers.
WRITERS = (
    *(
        Contender(f"edgepipe {dtype}", "generate_ours.py", BUNDLE, dtype, HERE, precision)
        for dtype, precision in (
            (EXACT, EXACT),
            ("w8", "8 bits"),
            ("w8-rows", "8 bits"),
            ("q4", "4 bits"),
            ("q4-rows", "4 bits"),
        )
    ),
    *(
        Contender(f"edgepipe {dtype} on OpenVINO", "generate_ours.py", OPENVINO_BUNDLE, f"{dtype}@openvino", HERE, bits)
        for dtype, bits in ((EXACT, EXACT), ("w8", "8 bits"), ("q4", "4 bits"))
    ),
    *(
        Contender(
            f"llama.cpp {name}", "generate_llama_cpp.py", f"model-{name.lower()}.gguf", name.lower(), LLAMA, precision
        )
        for name, precision in (("f32", EXACT), ("Q8_0", "8 bits"), ("Q4_0", "4 bits"))
    ),
    Contender("OpenVINO GenAI fp32", "generate_openvino.py", "openvino-fp32", "f32", PEERS, EXACT),
    Contender("OpenVINO GenAI int8", "generate_openvino.py", "openvino-int8", "", PEERS, "8 bits"),
    Contender("OpenVINO GenAI int4", "generate_openvino.py", "openvino-int4", "", PEERS, "4 bits"),
    Contender("onnxruntime-genai int4", "generate_genai.py", "genai-int4", "", PEERS, "4 bits"),
    Contender("CTranslate2 fp32", "generate_ctranslate2.py", "checkpoint", "float32", PEERS, EXACT),
    Contender("CTranslate2 int8", "generate_ctranslate2.py", "checkpoint", "int8", PEERS, "8 bits"),
    Contender("torch fp32", "generate_torch.py", "checkpoint", "torch", HERE, EXACT),
)
# Its tokens are right.
REFERENCE = "torch fp32"
OURS = tuple(one.name for one in WRITERS if one.path in (BUNDLE, OPENVINO_BUNDLE))
PAIRS = {
    ours.name: tuple(peer.name for peer in WRITERS if peer.precision == ours.precision and peer.name not in OURS)
    for ours in WRITERS
    if ours.name in OURS
}


@dataclass(frozen=True)
class Floor:
    """What is wanted of ours.

    Attributes:
        ours: The contender.
        peer: Beside whom, or BANDWIDTH.
        measures: Of what (:mod:`benchmarks.peers.writing.writing_report`).
        at_least: Our speed over the peer's, or the share.
        models: For which models.
    """

    ours: str
    peer: str
    measures: tuple[str, ...]
    at_least: float
    models: tuple[str, ...] = tuple(MODELS)


_DECODE = tuple(f"decode behind {prompt}" for prompt in PROMPTS)
BANDWIDTH = "bandwidth"
FLOORS = (
    Floor("edgepipe q4", "llama.cpp Q4_0", _DECODE, 1.0),
    Floor("edgepipe w8", "llama.cpp Q8_0", _DECODE, 1.15),
    Floor("edgepipe q4", BANDWIDTH, _DECODE, 0.75),
    Floor("edgepipe w8", BANDWIDTH, _DECODE, 0.75),
    Floor("edgepipe fp32", "llama.cpp f32", _DECODE, 1.0, ("gpt2",)),
    Floor("edgepipe fp32", "CTranslate2 fp32", _DECODE, 1.0, ("gpt2",)),
    Floor("edgepipe w8-rows", "OpenVINO GenAI int8", ("prompt of 512",), 0.9),
    Floor("edgepipe q4-rows", "OpenVINO GenAI int4", ("prompt of 512",), 0.9),
)


def choose(model: str, only: Collection[str] | None) -> list[Contender]:
    """The contenders for a model whose names have one of the parts; all without any."""
    return [
        one
        for one in WRITERS
        if (MODELS[model] or one.precision != EXACT) and (not only or any(part in one.name for part in only))
    ]
