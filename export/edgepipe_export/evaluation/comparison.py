"""What export and verify set up before they compare: the data, what recipes are calibrated with, the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepipe import Bundle, Tokenizer
from edgepipe.bundle.labels import name_labels, read_labels
from edgepipe.bundle.layout import DECODER
from edgepipe.errors import InputError
from edgepipe_export.calibration.dataset import BUILT_IN, NEW_TOKENS, Dataset
from edgepipe_export.calibration.split import Split, measure_all
from edgepipe_export.calibration.texts import pack_texts, sentences
from edgepipe_export.evaluation.encoder_comparison import EncoderComparison
from edgepipe_export.evaluation.generation_comparison import GenerationComparison
from edgepipe_export.evaluation.predictors import VariantPredictor
from edgepipe_export.evaluation.tasks import make_inputs, read_dataset
from edgepipe_export.output.progress import Steps
from edgepipe_export.quantization.int8_cache.cache_scales import CacheScales, measure_scales
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgepipe.backend.session import SessionConfig
    from edgepipe.pipelines.base import Task
    from edgepipe_export.checkpoint.load import LoadedCheckpoint
    from edgepipe_export.evaluation.checks import Comparison
    from edgepipe_export.evaluation.predictors import Arrays

# Tokens of a long text, and how many there are of these at most; how many logits are in memory at once.
_LONG, _LONGEST, _LONG_TEXTS, _MOST_LOGITS = 512, 1024, 16, 2**26
# How many texts of the data they are made of, at most.
_LOOKED_AT = 1000


def load_dataset(path: Path | None, loaded: LoadedCheckpoint) -> Dataset | None:
    """Read a file for the task of a checkpoint; see :func:`~edgepipe_export.evaluation.tasks.read_dataset`."""
    if path is None:
        return None
    labels = name_labels(read_labels(loaded.model.config.to_dict()))
    return read_dataset(path, loaded.checkpoint.task.name, labels, loaded.tokenizer)


def prepare_dataset(
    task: type[Task],
    tokenizer: Tokenizer,
    limit: int | None,
    given: Dataset | None = None,
    texts: Sequence[str] | None = None,
) -> Dataset:
    """What variants are calibrated with and measured on, cut to what the model takes.

    Args:
        task: The task.
        tokenizer: The bundle's tokenizer.
        limit: The longest input the model takes; None for no limit.
        given: What the user gave; None for inputs made of texts.
        texts: The texts; by default the built-in ones of the task.

    Raises:
        InputError: none of the texts gives an input.
    """
    if given is not None:
        return given if task.generates else given.truncate(tokenizer, limit)
    origin = BUILT_IN if texts is None else "texts"
    if task.generates:
        return Dataset(tuple(sentences() if texts is None else texts), None, origin)
    return Dataset(make_inputs(task.name, tokenizer, limit, texts), None, origin)


def calibration_batches(bundle: Bundle, task: type[Task], data: Dataset) -> tuple[Arrays, ...]:
    """What recipes are calibrated with, as the fp32 graph takes it: padded batches.

    Raises:
        InputError: the task's graphs do not read a text at once.
    """
    if task.generates:
        raise InputError(f"{task.name} writes token by token, and recipes that need calibration are for encoders")
    predictor = VariantPredictor(bundle, FP32, task)
    taken = predictor.input_names
    return tuple({name: each[name] for name in each if name in taken} for each in predictor.encode(data))


def pack_long_texts(data: Dataset, tokenizer: Tokenizer, limit: int | None) -> list[NDArray[np.int64]]:
    """Long texts, to see what comes of keys and values that are rounded: their loss may grow with the length.

    Each has 512 tokens, or as many as the longest of the data, up to 1024. It has fewer where the model takes no more,
    and where the logits of all its tokens would take much memory.

    Args:
        data: Texts; long ones are made of some that follow each other.
        tokenizer: The bundle's tokenizer.
        limit: The longest input the model takes; None for no limit.

    Returns:
        Their tokens, int64[length] each.

    Raises:
        InputError: no text has two tokens.
    """
    texts = data.inputs[:_LOOKED_AT]
    longest = max((len(tokenizer(text)["input_ids"]) for text in texts), default=0)
    length = min(max(_LONG, longest), _LONGEST, limit or _LONGEST, max(2, _MOST_LOGITS // len(tokenizer)))
    packed = pack_texts(texts, tokenizer, length, _LONG_TEXTS)
    if not packed:
        raise InputError("none of the texts has two tokens, so a cache in 8 bits cannot be measured; give a longer one")
    return packed


def scale_cache(bundle: Bundle, data: Dataset) -> CacheScales:
    """What a decoder's keys and values are rounded by.

    Args:
        bundle: With the fp32 graph.
        data: The texts that they are from.

    Raises:
        InputError: the model has none, or its attention is not the operator that takes them in 8 bits.
    """
    if bundle.has_graph(FP32, DECODER) or not bundle.shares_cache(FP32):
        raise InputError(
            f'{bundle.config.get("model_type")} cannot have kv_cache_dtype="int8" (--kv-cache-dtype), which is for '
            "decoder-only models whose attention is onnxruntime's GroupQueryAttention: leave it out"
        )
    texts = pack_long_texts(data, Tokenizer.from_pretrained(bundle.path), bundle.max_length)
    return measure_scales(bundle.graph(FP32), texts)


def make_comparison(
    bundle: Bundle,
    loaded: LoadedCheckpoint,
    task: type[Task],
    texts: Sequence[str] | None = None,
    data: Split | None = None,
    session: SessionConfig | None = None,
    steps: Steps | None = None,
) -> Comparison:
    """Prepare a comparison.

    Args:
        bundle: The bundle.
        loaded: The checkpoint in PyTorch.
        task: The task to compare; a bundle may do for several.
        texts: Texts to compare on; by default the built-in ones of the task.
        data: What quantized variants are measured on; by default the texts.
        session: Where the variants run; PyTorch runs where it is.
        steps: Counts tensors and results of variant and reference, see :meth:`.Comparison.count_steps`.

    Raises:
        InputError: none of the texts gives an input.
    """
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    if task.generates:
        inputs = texts if data is None else data.measured.inputs
        new_tokens = None if data is None else data.measured.options.get(NEW_TOKENS)
        return GenerationComparison(bundle, loaded, tokenizer, inputs, session, new_tokens)
    if data is None:
        data = measure_all(prepare_dataset(task, tokenizer, bundle.max_length, texts=texts))
    return EncoderComparison(bundle, loaded, task, data, texts, session, steps or Steps())
