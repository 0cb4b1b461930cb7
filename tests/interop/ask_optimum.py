"""Answers of optimum-onnx: ``python ask_optimum.py REQUEST.json ANSWERS.json``, in its own environment.

A request is a list of ``{task, root, bundle, calls: [[arguments, options], ...]}``; the answers come in the same order.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import optimum.onnxruntime
import transformers

CLASSES = {
    "text-classification": "ORTModelForSequenceClassification",
    "token-classification": "ORTModelForTokenClassification",
    "question-answering": "ORTModelForQuestionAnswering",
    "fill-mask": "ORTModelForMaskedLM",
    "feature-extraction": "ORTModelForFeatureExtraction",
}


def answers(asked: dict[str, Any]) -> Any:
    """The results of every call to a bundle, or why there are none."""
    path = Path(asked["root"], asked["bundle"])
    try:
        kind = getattr(optimum.onnxruntime, CLASSES[asked["task"]])
        model = kind.from_pretrained(path, subfolder="onnx", file_name="model.onnx")
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        ask = transformers.pipeline(asked["task"], model=model, tokenizer=tokenizer, device="cpu")
        return [ask(*inputs, **options) for inputs, options in asked["calls"]]
    except Exception as error:  # noqa: BLE001 - whatever another tool raises is a line of the table
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps([answers(each) for each in asked], default=float), encoding="utf-8")
