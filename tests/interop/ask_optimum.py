"""Answers of optimum-onnx: ``python ask_optimum.py REQUEST.json ANSWERS.json``, in its own environment.

A request is a list of ``{task, root, bundle, dtype, calls: [[arguments, options], ...]}``; the answers come in the same
order.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnxruntime
import optimum.onnxruntime
import transformers

CLASSES = {
    "text-classification": "ORTModelForSequenceClassification",
    "token-classification": "ORTModelForTokenClassification",
    "question-answering": "ORTModelForQuestionAnswering",
    "fill-mask": "ORTModelForMaskedLM",
    "feature-extraction": "ORTModelForFeatureExtraction",
    "text-generation": "ORTModelForCausalLM",
}
# Two graphs, in a class for all tasks.
ENCODER_DECODER, GRAPHS = "ORTModelForSeq2SeqLM", ("encoder_model", "decoder_model_merged")
SUFFIXES = {"fp32": "", "int8": "_int8", "q4": "_q4"}


def answers(asked: dict[str, Any]) -> Any:
    """The results of every call to a bundle, or why there are none."""
    path, suffix = Path(asked["root"], asked["bundle"]), SUFFIXES[asked["dtype"]]
    try:
        with tempfile.TemporaryDirectory() as temporary:
            model = _model(asked["task"], path, suffix, Path(temporary, "renamed"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        ask = transformers.pipeline(asked["task"], model=model, tokenizer=tokenizer, device="cpu")
        return [ask(*inputs, **options) for inputs, options in asked["calls"]]
    except Exception as error:  # noqa: BLE001 - whatever another tool raises is a line of the table
        return {"error": f"{type(error).__name__}: {error}"}


def _model(task: str, path: Path, suffix: str, renamed: Path) -> Any:
    kind = getattr(optimum.onnxruntime, CLASSES.get(task, ENCODER_DECODER))
    if task in CLASSES:
        return kind.from_pretrained(path, subfolder="onnx", file_name=f"model{suffix}.onnx")
    if suffix:
        # Told the name of a merged decoder it looks for one that is not merged, so the variant gets the usual names.
        shutil.copytree(path, renamed)
        for name in GRAPHS:
            (renamed / "onnx" / f"{name}{suffix}.onnx").replace(renamed / "onnx" / f"{name}.onnx")
        path = renamed
    return kind.from_pretrained(path, subfolder="onnx")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Scores and token ids come in arrays and tensors; both have lists of themselves.
    told = json.dumps([answers(each) for each in asked], default=lambda value: value.tolist())
    Path(sys.argv[2]).write_text(told, encoding="utf-8")
