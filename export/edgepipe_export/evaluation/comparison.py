"""What export and verify set up before they compare: the data, what recipes are calibrated with, the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepipe import Bundle, Tokenizer
from edgepipe.bundle.labels import name_labels, read_labels
from edgepipe.errors import InputError
from edgepipe_export.calibration.dataset import BUILT_IN, NEW_TOKENS, Dataset
from edgepipe_export.calibration.split import Split, measure_all
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.evaluation.encoder_comparison import EncoderComparison
from edgepipe_export.evaluation.generation_comparison import GenerationComparison
from edgepipe_export.evaluation.predictors import VariantPredictor
from edgepipe_export.evaluation.tasks import make_inputs, read_dataset
from edgepipe_export.output.progress import Steps
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from edgepipe.backend.session import SessionConfig
    from edgepipe.pipelines.base import Task
    from edgepipe_export.checkpoint.load import LoadedCheckpoint
    from edgepipe_export.evaluation.checks import Comparison
    from edgepipe_export.evaluation.predictors import Arrays


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
