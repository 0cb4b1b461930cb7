"""Tiny pipelines of five tasks, calls of them, and the result that each call must have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from edgepipe import pipeline
from tests.runtime.models.decoder.small_decoders import VOCABULARY, causal_bundle
from tests.runtime.small_bundle import LABELS, word_table, write_bundle, write_foreign

# How often each task is called.
WEIGHTS = {
    "text-classification": 20,
    "token-classification": 3,
    "feature-extraction": 5,
    "question-answering": 1,
    "text-generation": 1,
}
# Calls of each task that there are to choose from.
_CHOICE = 60
# How many texts a call has, and how often. Those of the two slow tasks have few.
_SIZES = {1: 3, 8: 3, 32: 4}
_SLOW = ("question-answering", "text-generation")
_WORDS = ("the", "a", "film", "was", "good", "bad", "not", "fair", "Berlin", "naïve", "東京", "x", "42", "—", "it's")


@dataclass(frozen=True)
class Call:
    """A call of a pipeline and its result.

    Attributes:
        task: The pipeline's.
        inputs: What it is called with: a text, or a list of them.
        size: How many texts.
        options: By keyword.
        result: What one call in one thread gave.
    """

    task: str
    inputs: Any
    size: int
    options: dict[str, Any]
    result: Any


def write_bundles(folder: Path) -> dict[str, Path]:
    """The bundle of each task."""
    bundles = {"text-classification": write_bundle(folder / "text-classification")}
    for task, architecture, outputs in (
        ("token-classification", "BertForTokenClassification", {"logits": len(LABELS)}),
        ("feature-extraction", "BertModel", {"last_hidden_state": len(LABELS)}),
        ("question-answering", "BertForQuestionAnswering", {"start_logits": 0, "end_logits": 0}),
    ):
        bundles[task] = _write_per_token(folder / task, architecture, outputs)
    bundles["text-generation"] = _write_generation(folder / "text-generation")
    return bundles


def _write_per_token(folder: Path, architecture: str, outputs: dict[str, int]) -> Path:
    """A graph that looks each token up; an output has so many values for it, or one alone (0)."""
    config = {
        "model_type": "bert",
        "architectures": [architecture],
        "id2label": {str(place): label for place, label in enumerate(LABELS)},
        "hidden_size": len(LABELS),
        "max_position_embeddings": 512,
    }
    write_foreign(folder, config=config, limit=64)
    axes = ["batch_size", "sequence_length"]
    nodes, constants = [], []
    for place, (name, size) in enumerate(outputs.items()):
        table = word_table("fp32") if size else word_table("fp32")[:, place].copy()
        constants.append(numpy_helper.from_array(table, f"table_{place}"))
        nodes += [
            helper.make_node("Gather", [f"table_{place}", "input_ids"], [f"looked_up_{place}"]),
            # Reads the mask without a change, so that the graph has it.
            helper.make_node("Cast", ["attention_mask"], [f"mask_{place}"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", [f"mask_{place}"], [f"one_{place}"], keepdims=0),
            helper.make_node("Mul", [f"looked_up_{place}", f"one_{place}"], [name]),
        ]
    graph = helper.make_graph(
        nodes,
        "per_token",
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in ("input_ids", "attention_mask")],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [*axes, size] if size else axes)
            for name, size in outputs.items()
        ],
        constants,
    )
    (folder / "onnx").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save_model(model, folder / "onnx" / "model.onnx")
    return folder


def _write_generation(folder: Path) -> Path:
    causal_bundle(folder)
    words = ["<unk>", "</s>", *(f"w{place}" for place in range(VOCABULARY - 2))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>", "tokenizer_class": "GPT2TokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def open_pipelines(bundles: dict[str, Path]) -> dict[str, Any]:
    """The pipeline of each bundle, with one thread in an operator."""
    return {task: pipeline(task, bundle, num_threads=1) for task, bundle in bundles.items()}  # type: ignore[call-overload]


def make_calls(pipelines: dict[str, Any], seed: int) -> list[Call]:
    """Calls of all tasks, each as often as its weight, with the results of one thread."""
    random = Random(f"calls {seed}")
    found = []
    for task, weight in WEIGHTS.items():
        for _ in range(_CHOICE):
            size = (
                random.choices(list(_SIZES), list(_SIZES.values()))[0] if task not in _SLOW else random.choice([1, 4])
            )
            inputs, options = _DRAW[task](random)
            if size > 1:
                inputs = [inputs, *(_DRAW[task](random)[0] for _ in range(size - 1))]
                options |= {"batch_size": random.choice([1, size, size, size])}
            result = pipelines[task](inputs, **options)
            found += [Call(task, inputs, size, options, result)] * weight
    random.shuffle(found)
    return found


def is_equal(one: Any, other: Any) -> bool:
    """Whether two results are the same to the last bit."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other))
    return bool(one == other)


def _words(random: Random, most: int = 4) -> str:
    return " ".join(random.choices(_WORDS, k=random.randint(1, most)))


def _classify(random: Random) -> tuple[Any, dict[str, Any]]:
    return _words(random), random.choice([{}, {"top_k": None}, {"top_k": 2}, {"function_to_apply": "sigmoid"}])


def _tag(random: Random) -> tuple[Any, dict[str, Any]]:
    return _words(random), random.choice([{}, {"aggregation_strategy": "simple"}])


def _embed(random: Random) -> tuple[Any, dict[str, Any]]:
    return _words(random), {}


def _ask(random: Random) -> tuple[Any, dict[str, Any]]:
    return {"question": _words(random), "context": _words(random)}, random.choice([{}, {"top_k": 2}])


def _write(random: Random) -> tuple[Any, dict[str, Any]]:
    text = " ".join(f"w{random.randrange(VOCABULARY - 2)}" for _ in range(random.randint(1, 3)))
    return text, {"max_new_tokens": random.randint(1, 5), "do_sample": False}


_DRAW: dict[str, Callable[[Random], tuple[Any, dict[str, Any]]]] = {
    "text-classification": _classify,
    "token-classification": _tag,
    "feature-extraction": _embed,
    "question-answering": _ask,
    "text-generation": _write,
}
