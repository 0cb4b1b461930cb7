"""What is compared: the contenders of each part of the report, and which peers compute in the precision of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Environments that engines run in: this one, the one with the peers of processors, optimum-onnx's, Node, and that of
# llama-cpp-python.
HERE, PEERS, OPTIMUM, NODE, LLAMA = "here", "peers", "optimum", "node", "llama"


@dataclass(frozen=True)
class Contender:
    """One engine on one file.

    Attributes:
        name: In the tables.
        engine: The function of engines.py that loads it; Node has a program of its own, and so has each that writes.
        path: The file or directory that it loads, in the folder of a model.
        option: What else the engine is told.
        environment: Where it runs.
        precision: That of most of its products, whose peak it is held against; none if there are several.
        reads_texts: Whether it goes from texts to results.
    """

    name: str
    engine: str
    path: str
    option: str = ""
    environment: str = HERE
    precision: str = ""
    reads_texts: bool = True


@dataclass(frozen=True)
class Section:
    """Contenders that do the same task.

    Attributes:
        task: That task.
        contenders: All of them.
        pairs: Ours by name, and the peers that compute in the same precision.
        reference: The contender whose results are right.
        dtypes: Variants of the bundle for onnxruntime.
        openvino_dtypes: And of the one for OpenVINO.
        shapes: Whether the graph is timed alone, too.
    """

    task: str
    contenders: tuple[Contender, ...]
    pairs: Mapping[str, tuple[str, ...]]
    reference: str
    dtypes: str
    openvino_dtypes: str
    shapes: bool = True


CLASSIFICATION = Section(
    "text-classification",
    (
        Contender("edgepipe fp32", "edgepipe", "bundle", "fp32@cpu", precision="fp32"),
        # The products of w8 have integers of 8 bits inside of blocks, and are added in fp32.
        Contender("edgepipe w8", "edgepipe", "bundle", "w8@cpu"),
        Contender("edgepipe int8", "edgepipe", "bundle", "int8@cpu", precision="int8"),
        Contender("edgepipe fp32, openvino", "edgepipe", "openvino-bundle", "fp32@openvino", precision="fp32"),
        Contender("edgepipe bf16, openvino", "edgepipe", "openvino-bundle", "bf16@openvino", precision="bf16"),
        Contender("edgepipe w8, openvino", "edgepipe", "openvino-bundle", "w8@openvino", precision="fp32"),
        Contender(
            "edgepipe int8-static, openvino", "edgepipe", "openvino-bundle", "int8-static@openvino", precision="int8"
        ),
        Contender("onnxruntime fp32", "onnxruntime", "plain/onnx/model.onnx", precision="fp32"),
        Contender("onnxruntime int8", "onnxruntime", "plain/onnx/model_quantized.onnx", precision="int8"),
        Contender("OpenVINO fp32", "openvino", "openvino-fp32/openvino_model.xml", "f32", PEERS, "fp32"),
        Contender("OpenVINO bf16", "openvino", "openvino-fp32/openvino_model.xml", "bf16", PEERS, "bf16"),
        Contender("OpenVINO int8", "openvino", "openvino-int8/openvino_model.xml", "", PEERS, "int8"),
        Contender("CTranslate2 fp32", "ctranslate2", "ctranslate2", "float32", PEERS, "fp32", reads_texts=False),
        Contender("CTranslate2 int8", "ctranslate2", "ctranslate2", "int8", PEERS, "int8", reads_texts=False),
        Contender("transformers.js fp32", "transformers_js", "plain", "fp32", NODE, "fp32"),
        Contender("transformers.js int8", "transformers_js", "plain", "q8", NODE, "int8"),
        Contender("torch fp32", "torch", "checkpoint", "fp32", precision="fp32"),
        Contender("torch fp32, compiled", "torch", "checkpoint", "fp32 compiled", precision="fp32"),
        Contender("torch bf16, compiled", "torch", "checkpoint", "bf16 compiled", precision="bf16"),
    ),
    {
        "edgepipe int8-static, openvino": ("OpenVINO int8",),
        "edgepipe bf16, openvino": ("OpenVINO bf16", "torch bf16, compiled"),
        "edgepipe fp32, openvino": ("OpenVINO fp32",),
        "edgepipe int8": ("onnxruntime int8", "OpenVINO int8", "CTranslate2 int8", "transformers.js int8"),
        "edgepipe fp32": (
            *("onnxruntime fp32", "OpenVINO fp32", "CTranslate2 fp32", "transformers.js fp32"),
            *("torch fp32", "torch fp32, compiled"),
        ),
    },
    reference="torch fp32",
    dtypes="fp32,w8,int8",
    openvino_dtypes="fp32,w8,int8-static",
)
SENTENCES = Section(
    "feature-extraction",
    (
        Contender("edgepipe fp32", "edgepipe", "bundle", "fp32@cpu"),
        Contender("edgepipe int8", "edgepipe", "bundle", "int8@cpu"),
        Contender("edgepipe fp32, openvino", "edgepipe", "openvino-bundle", "fp32@openvino"),
        Contender("edgepipe int8-static, openvino", "edgepipe", "openvino-bundle", "int8-static@openvino"),
        Contender("sentence-transformers fp32", "sentence_transformers", "checkpoint", "torch"),
        *(
            Contender(
                f"sentence-transformers {dtype}, {backend}",
                "sentence_transformers",
                f"sentence-{backend}",
                f"{backend} {backend}/{graph}",
                environment,
            )
            for backend, environment, dtype, graph in (
                ("onnx", OPTIMUM, "fp32", "model.onnx"),
                ("onnx", OPTIMUM, "int8", "model_int8.onnx"),
                ("openvino", PEERS, "fp32", "openvino_model.xml"),
                ("openvino", PEERS, "int8", "openvino_model_int8.xml"),
            )
        ),
    ),
    {
        "edgepipe int8-static, openvino": ("sentence-transformers int8, openvino",),
        "edgepipe fp32, openvino": ("sentence-transformers fp32, openvino",),
        "edgepipe int8": ("sentence-transformers int8, onnx",),
        "edgepipe fp32": ("sentence-transformers fp32", "sentence-transformers fp32, onnx"),
    },
    reference="sentence-transformers fp32",
    dtypes="fp32,int8",
    openvino_dtypes="fp32,int8-static",
    shapes=False,
)
# The models of the report by name; any other is a checkpoint for text classification.
SECTIONS = {"minilm-sentence": SENTENCES}
MODELS = ("minilm", "distilbert-base", "bert-base", *SECTIONS)


def section_of(model: str) -> Section:
    """The section that a model belongs to."""
    return SECTIONS.get(model, CLASSIFICATION)
