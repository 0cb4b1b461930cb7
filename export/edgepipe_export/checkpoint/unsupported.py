"""Checkpoints of which an export would lose something: each is refused by name, with what to do.

What transformers loads without a word may lack the half of a model: the head of SetFit, the pooling of a
SparseEncoder, a layer that the config does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.integrity import read_json
from edgepipe.bundle.tasks import resolve_alias, task_entry
from edgepipe.bundle.third_party import MODULES_NAME, read_module_entries
from edgepipe.embeddings.sentence_config import CONFIG_NAME
from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.adapters import ADAPTER_CONFIG
from edgepipe_export.checkpoint.formats.quantized_weights import quantized_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SETFIT = ("model_head.pkl", "config_setfit.json")

# Weights that a checkpoint of transformers has, pickled ones among them; what other safetensors are called.
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_WEIGHTS = ("*.safetensors", *PICKLES)
_OTHER_WEIGHTS = ("adapter_model*", "consolidated*")

_CONVERT = "convert it with transformers 4: from_pretrained(..., {}=True), then save_pretrained"
_ORIGINAL = "export the checkpoint that it was made from"
# The form of files without which there are no weights, and what to do with it.
_FORMATS: dict[str, tuple[str, str]] = {
    "*.gguf": ("GGUF", _ORIGINAL),
    "*.onnx": ("ONNX", "edgepipe may run it as it is: edgepipe run DIRECTORY TEXT; for other variants " + _ORIGINAL),
    "openvino_model*.xml": ("OpenVINO", _ORIGINAL),
    "*.tflite": ("TensorFlow Lite", _ORIGINAL),
    "*.mlmodel": ("Core ML", _ORIGINAL),
    "*.h5": ("TensorFlow", _CONVERT.format("from_tf")),
    "*.msgpack": ("Flax", _CONVERT.format("from_flax")),
    "consolidated*": ("Mistral", "export the repository's weights in transformers' form (model.safetensors)"),
}

# What a module of sentence-transformers makes of a model.
_MODULES = {
    "SpladePooling": "SparseEncoder",
    "SparseAutoEncoder": "SparseEncoder",
    "SparseStaticEmbedding": "SparseEncoder",
    "MultiVectorMask": "MultiVectorEncoder",
    "StaticEmbedding": "StaticEmbedding",
    "Router": "Router",
    "Asym": "Router",
}
# Activation functions of cross-encoders, by the name that pipelines have for them.
_ACTIVATIONS = {"Identity": "none", "Sigmoid": "sigmoid", "Softmax": "softmax"}
_TRANSFORMERS = ("Transformer", "MLMTransformer")

# What heads do that no pipeline of ours runs, by how their classes end; and the auto class that lists them.
HEADS_WITHOUT_TASK: dict[str, tuple[str, str]] = {
    "ForMultipleChoice": (
        "MODEL_FOR_MULTIPLE_CHOICE",
        "its head chooses among several texts at once, and transformers has no pipeline for that",
    ),
    "ForNextSentencePrediction": (
        "MODEL_FOR_NEXT_SENTENCE_PREDICTION",
        "its head says whether one text follows another, and transformers has no pipeline for that",
    ),
    "LayoutLMForQuestionAnswering": (
        "MODEL_FOR_DOCUMENT_QUESTION_ANSWERING",
        "its head answers from the places of the words on a page, which a text does not have",
    ),
    "ForDecision": (
        "MODEL_FOR_DECISION",
        'its head answers typed questions about a state; run it with the pipeline "decision" of transformers',
    ),
}

# Settings of GPTQ and AWQ where config.json does not have them.
_QUANTIZED_FILES = {"quantize_config.json": "GPTQ", "quant_config.json": "AWQ"}

# What pretraining leaves beside the head of a fine-tuned model, the constants of a training's loss, and tables of
# positions that a class has for others of its configs: the first T5 have one too many, the third DeBERTa may have one.
_LEFTOVERS = frozenset(
    (
        *("cls", "pooler", "lm_head", "lm_loss", "predictions", "sop_classifier", "pred_layer", "sequence_summary"),
        *("lm_predictions", "mask_predictions", "generator_predictions", "discriminator_predictions"),
        *("generator_lm_head", "vocab_transform", "vocab_layer_norm", "vocab_projector"),
        *("position_embeddings", "token_type_embeddings", "relative_attention_bias"),
        *("loss", "loss_fct", "loss_fn", "criterion", "class_weights"),
    )
)


def has_weights(files: Iterable[str]) -> bool:
    """Whether there are weights of transformers among a checkpoint's files."""
    return any(_matches(name, _WEIGHTS) and not _matches(name, _OTHER_WEIGHTS) for name in files if "/" not in name)


def require_supported_files(name: str, files: Iterable[str], task: str | None = None) -> None:
    """Refuse what the names of its files say is no checkpoint of transformers, or has more than one.

    Args:
        name: What the checkpoint is called.
        files: Its files, relative to it.
        task: The task that the caller named, if one was.

    Raises:
        CheckpointError: it is such.
    """
    names = sorted(files)
    weights = has_weights(names)
    if ADAPTER_CONFIG in names and weights:
        raise CheckpointError(
            f"{name} has an adapter beside its weights ({ADAPTER_CONFIG}): move the adapter's files to a directory of "
            "their own and name this one with base= (--base) to merge them, or remove them if the weights have the "
            "adapter already"
        )
    if any(file in names for file in _SETFIT) and not _embeds(task):
        raise CheckpointError(
            f"{name} is a SetFit model, whose head ({_SETFIT[0]}) cannot be exported; its body alone, which gives "
            "embeddings, is exported with task='feature-extraction' (--task feature-extraction)"
        )
    for file, method in _QUANTIZED_FILES.items():
        if file in names:
            raise quantized_error(name, method, file)
    if weights or ADAPTER_CONFIG in names:
        return
    if "gliner_config.json" in names:
        raise CheckpointError(f"{name} is a GLiNER model, which edgepipe cannot export; run it with gliner")
    if "router_config.json" in names:
        raise CheckpointError(
            f"{name} is a sentence-transformers Router (its routes have encoders of their own), which edgepipe cannot "
            "export; run it with sentence-transformers"
        )
    for pattern, (form, hint) in _FORMATS.items():
        found = [file for file in names if fnmatch(file.rpartition("/")[2], pattern)]
        if found:
            raise CheckpointError(f"{name} has weights in {form}'s form alone ({found[0]}); {hint}")


def require_supported_modules(name: str, directory: Path, task: str | None = None) -> None:
    """Refuse directories of sentence-transformers that are no encoder of dense vectors and no cross-encoder.

    Args:
        name: What the checkpoint is called.
        directory: The checkpoint.
        task: The task that the caller named: one that is not about embeddings takes the transformer alone.

    Raises:
        BundleError: ``modules.json`` is damaged.
        CheckpointError: it is such.
    """
    if not (directory / MODULES_NAME).is_file():
        return
    kinds = [kind for kind, _ in read_module_entries(directory)]
    is_transformer = bool(kinds) and (kinds[0] in _TRANSFORMERS or "." in kinds[0])
    if is_transformer and task is not None and not _embeds(task):
        return
    what = next((_MODULES[kind] for kind in kinds if kind in _MODULES), None) or _read_class(directory)
    if is_transformer and what in ("SentenceTransformer", "CrossEncoder"):
        if "Pooling" in kinds or len(kinds) == 1:
            return
        what = f"{what} without pooling" if what == "SentenceTransformer" else f"{what} of several modules"
    elif not is_transformer and what not in _MODULES.values():
        what = f"model that begins with {kinds[0]}" if kinds else "model of no modules"
    alone = "; its masked language model alone is exported with task='fill-mask' (--task fill-mask)"
    raise CheckpointError(
        f"{name} is a sentence-transformers {what} ({MODULES_NAME} lists {', '.join(kinds) or 'nothing'}), which "
        f"edgepipe cannot export; run it with sentence-transformers{alone if 'SpladePooling' in kinds else ''}"
    )


def require_head_with_task(name: str, architectures: Iterable[str]) -> None:
    """Refuse a head that no pipeline here runs.

    Args:
        name: What the checkpoint is called.
        architectures: The classes that its config names; the first counts.

    Raises:
        CheckpointError: it has such a head; the message has what that does.
    """
    for architecture in [*architectures][:1]:
        for ending, (_, reason) in HEADS_WITHOUT_TASK.items():
            if architecture.endswith(ending):
                raise CheckpointError(
                    f"{name} is a {architecture}: {reason}; its features are exported with task='feature-extraction' "
                    "(--task feature-extraction)"
                )


def find_activation(directory: Path | None, config: Mapping[str, Any]) -> tuple[str, str] | None:
    """The activation function of a cross-encoder whose scores are not those of text classification.

    transformers' pipeline does not read the activation function that a cross-encoder was saved with.

    Args:
        directory: The checkpoint; None for a loaded model.
        config: Its ``config.json``, where versions of sentence-transformers before 6 wrote the function.

    Returns:
        Its name, and that of the option ``function_to_apply``; None where there is none, or it is transformers'.
    """
    settings = config.get("sentence_transformers")
    found = settings.get("activation_fn") if isinstance(settings, Mapping) else None
    found = found or config.get("sbert_ce_default_activation_function")
    if directory is not None and (directory / CONFIG_NAME).is_file():
        found = read_json(directory / CONFIG_NAME, dict).get("activation_fn") or found
    name = str(found or "").rpartition(".")[2]
    if name not in _ACTIVATIONS or (name == "Sigmoid" and len(config.get("id2label") or [0, 1]) == 1):
        return None
    return name, _ACTIVATIONS[name]


def list_lost_weights(model: PreTrainedModel, unexpected: Iterable[str], *, heads: bool) -> list[str]:
    """Weights of a checkpoint that a loaded model has no place for, though they change the results of what was trained.

    Not what pretraining leaves behind (the head of a language model, a pooler), nor buffers of older versions.

    Args:
        model: The model, loaded from the checkpoint.
        unexpected: The names that it has no weights for.
        heads: Whether weights outside its body count: the heads of other classes.

    Returns:
        Their names, sorted.
    """
    prefix, body = model.base_model_prefix, model.base_model
    inside = {prefix, *(name for name, _ in body.named_children())}
    modules = {name for root in (model, body) for name, _ in root.named_modules()}
    modules |= {f"{prefix}.{name}" for name in modules}
    return sorted(
        name
        for name in unexpected
        if (heads or name.partition(".")[0] in inside)
        and name.endswith((".weight", ".bias"))
        and name.rpartition(".")[0] not in modules
        and _LEFTOVERS.isdisjoint(name.split("."))
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _embeds(task: str | None) -> bool:
    return task is not None and task_entry(resolve_alias(task)).auto_model == "AutoModel"


def _read_class(directory: Path) -> str:
    """The class of sentence-transformers that wrote a directory; older versions had one for what has modules."""
    path = directory / CONFIG_NAME
    found = read_json(path, dict).get("model_type") if path.is_file() else None
    return found if isinstance(found, str) else "SentenceTransformer"
