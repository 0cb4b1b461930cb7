"""Write the golden directories that another tool exported, and what its own pipelines answer.

    python -m tests.golden.make_foreign [name ...]

Run it where the reference is: optimum-onnx 0.1.0, which brings transformers 4.57.6
(``python -m benchmarks.pipelines.request --optimum`` makes such an environment). Each directory of
``tests/data/foreign`` is what ``ORTModelFor….save_pretrained`` and ``ORTQuantizer`` left, byte for byte; the file
beside it has the answers: ``fp32`` those of PyTorch, ``q8`` those of optimum-onnx on ``model_quantized.onnx``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from tests.golden.foreign_files import write_directories
from tests.tiny import build

FOLDER = Path(__file__).parents[1] / "data" / "foreign"
# Small enough to keep: the weights are mostly the vocabulary's embeddings.
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = ["I love this", "What a waste of time!", "Anna met Paul in Paris on the 2nd of May, 12:30."]


@dataclass(frozen=True)
class Foreign:
    """One directory.

    Attributes:
        task: The pipeline's task.
        architecture: A name in ``tests.tiny.ARCHITECTURES``.
        ort_class: optimum-onnx's class for the task.
        calls: Inputs and options of each call.
        checkpoint: The task that the checkpoint was fine-tuned for, where the export is for another.
        folder: Where the graphs lie: "" for optimum's flat directories, "onnx" for transformers.js's repositories.
        build: More arguments of ``tests.tiny.build``.
    """

    task: str
    architecture: str
    ort_class: str
    calls: tuple[tuple[Any, dict[str, Any]], ...]
    checkpoint: str = ""
    folder: str = ""
    build: dict[str, Any] = field(default_factory=dict)


_CLASSIFIED = ((TEXTS[0], {}), (TEXTS, {"top_k": None}), ({"text": TEXTS[0], "text_pair": TEXTS[1]}, {}))
_TAGGED = ((TEXTS[2], {}), (TEXTS, {"aggregation_strategy": "simple"}))
_ASKED = (({"question": "Who met Paul?", "context": TEXTS[2]}, {}),)
_FEATURES = ((TEXTS[0], {}), (TEXTS[1:], {}))

FOREIGN: dict[str, Foreign] = {
    "optimum-text-classification": Foreign(
        "text-classification", "roberta", "ORTModelForSequenceClassification", _CLASSIFIED
    ),
    "optimum-token-classification": Foreign(
        "token-classification", "bert", "ORTModelForTokenClassification", _TAGGED, build={"labels": LABELS}
    ),
    "optimum-question-answering": Foreign(
        "question-answering", "roberta", "ORTModelForQuestionAnswering", _ASKED, build={"num_labels": 2}
    ),
    "optimum-fill-mask": Foreign(
        "fill-mask",
        "bert",
        "ORTModelForMaskedLM",
        (("I [MASK] this", {}), ("Paul met [MASK].", {"top_k": 3})),
        build={"hidden_size": 12},  # its graph holds the embeddings twice
    ),
    # Its config says BertForMaskedLM: what the graph gives decides.
    "optimum-feature-extraction": Foreign(
        "feature-extraction", "bert", "ORTModelForFeatureExtraction", _FEATURES, checkpoint="fill-mask"
    ),
    "transformersjs-text-classification": Foreign(
        "text-classification", "bert", "ORTModelForSequenceClassification", _CLASSIFIED, folder="onnx"
    ),
    "transformersjs-token-classification": Foreign(
        "token-classification",
        "roberta",
        "ORTModelForTokenClassification",
        _TAGGED,
        folder="onnx",
        build={"labels": LABELS},
    ),
}


def export(foreign: Foreign, checkpoint: Path, directory: Path) -> None:
    """Export and quantize a checkpoint as optimum-onnx does, then lay the graphs out."""
    import optimum.onnxruntime
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    model = getattr(optimum.onnxruntime, foreign.ort_class).from_pretrained(checkpoint, export=True)
    model.save_pretrained(directory)
    # Unsigned weights, transformers.js's own choice: signed ones saturate on CPUs without VNNI and answer otherwise.
    recipe = AutoQuantizationConfig.avx2(is_static=False, per_channel=False)
    optimum.onnxruntime.ORTQuantizer.from_pretrained(directory).quantize(recipe, directory)
    transformers.AutoTokenizer.from_pretrained(checkpoint).save_pretrained(directory)
    if foreign.folder:
        (directory / foreign.folder).mkdir()
        for path in directory.glob("*.onnx"):
            path.rename(directory / foreign.folder / path.name)


def answers(foreign: Foreign, checkpoint: Path, directory: Path) -> dict[str, list[Any]]:
    """What the reference answers to each call, by dtype."""
    import optimum.onnxruntime

    kind = getattr(optimum.onnxruntime, foreign.ort_class)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    sides = {
        "fp32": str(checkpoint),
        "q8": kind.from_pretrained(directory, file_name="model_quantized.onnx", subfolder=foreign.folder),
    }
    results = {}
    for dtype, model in sides.items():
        pipe = transformers.pipeline(foreign.task, model=model, tokenizer=tokenizer, device="cpu")
        results[dtype] = [_plain(pipe(inputs, **options)) for inputs, options in foreign.calls]
    return results


def _plain(value: Any) -> Any:
    """A result as JSON has it; numpy's scalars become Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.7g}")
    return value.item() if isinstance(value, np.generic) else value


def make(name: str, checkpoint: Path, directory: Path) -> dict[str, Any]:
    """Export one, and ask both."""
    foreign = FOREIGN[name]
    task = foreign.checkpoint or foreign.task
    build(foreign.architecture, task=task, directory=checkpoint, **SMALL | foreign.build)
    export(foreign, checkpoint, directory)
    return {
        "task": foreign.task,
        "calls": [{"inputs": inputs, "options": options} for inputs, options in foreign.calls],
        "answers": answers(foreign, checkpoint, directory),
    }


if __name__ == "__main__":
    write_directories(FOLDER, "tests.golden.make_foreign", sys.argv[1:] or FOREIGN, make)
