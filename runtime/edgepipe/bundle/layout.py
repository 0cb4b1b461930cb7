"""How a bundle is laid out: the names of its files, its graphs and their tensors. Runtime and exporter both read it."""

from __future__ import annotations

from collections.abc import Sequence

# The manifest, and what was measured beyond it: too much to be read with every bundle, and not needed to run one.
MANIFEST_NAME = "edgepipe.json"
REPORT_NAME = "edgepipe_report.json"

# What the variants gave for some inputs where they were made.
PROBES_NAME = "edgepipe_probes.json"

# dtype -> the suffix of its files, ours first, then those that only other tools write.
SUFFIXES: dict[str, str] = {
    "fp32": "",
    "fp16": "_fp16",
    "int8": "_int8",
    "int8-static": "_int8_static",
    "w8": "_w8",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "int8-rows": "_int8_rows",
    "w8-rows": "_w8_rows",
    "q4-rows": "_q4_rows",
    "q8": "_quantized",
    "uint8": "_uint8",
    "bnb4": "_bnb4",
}

# Variants without files of their own, and those whose graphs an engine computes in their precision.
STORED_AS: dict[str, str] = {"bf16": "fp32"}

# Where graphs lie: ours and transformers.js's, then optimum's flat directories.
GRAPH_FOLDER = "onnx"
GRAPH_FOLDERS = (GRAPH_FOLDER, ".")

# What they are called: one graph, or an encoder and a decoder that serves every step; or one that has no cache to read.
MODEL, ENCODER, DECODER, PLAIN_DECODER = "model", "encoder_model", "decoder_model_merged", "decoder_model"
GRAPH_NAMES = (MODEL, ENCODER, DECODER, PLAIN_DECODER)

# A decoder's tensors beside its token ids and masks.
LOGITS = "logits"
LOGITS_TO_KEEP = "num_logits_to_keep"
PAST, PRESENT = "past_key_values.", "present."
PAST_SEQUENCE_LENGTH = "past_sequence_length"
# How many tokens layers that see a window alone have keys and values of.
PAST_WINDOW_LENGTH = "past_window_length"

# The `accuracy_level` of onnxruntime's ``MatMulNBits`` that rounds activations to 8 bits.
INT8_ACCURACY_LEVEL = 4

# The axis of a decoder's source where one row of it may serve several rows of the target.
SOURCE_BATCH_SIZE = "source_batch_size"


def graph_file(dtype: str, name: str = MODEL) -> str:
    """The file name of a graph of a variant, e.g. ``model_int8.onnx``."""
    return f"{name}{SUFFIXES[STORED_AS.get(dtype, dtype)]}.onnx"


def present_name(past: str) -> str:
    """The output that becomes an input at the next step: ``past_key_values.0.key`` -> ``present.0.key``."""
    return PRESENT + past.removeprefix(PAST)


def first_of(wanted: Sequence[str], there: Sequence[str]) -> str | None:
    """The first of the wanted variants that is there."""
    return next((name for name in wanted if name in there), None)
