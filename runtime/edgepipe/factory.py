"""``pipeline()``: a path or Hub id becomes a bundle, and a bundle a task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from edgepipe.backend.session import Provider, SessionConfig
from edgepipe.backend.shape_buckets import Shape
from edgepipe.bundle.directory import Bundle
from edgepipe.checking.first_check import NEVER, check_mode, load_checked
from edgepipe.errors import DependencyError
from edgepipe.models.variants import open_bundle, variant_name
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.pipeline_options import AnyDevice, AnyDtype, Verify, check_same_config, take_pipeline_options
from edgepipe.pipelines.task_loading import load_task, require_task
from edgepipe.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edgepipe.pipelines.feature_extraction import FeatureExtraction
    from edgepipe.pipelines.fill_mask import FillMask
    from edgepipe.pipelines.question_answering import QuestionAnswering
    from edgepipe.pipelines.sentence_embedding import Vectors
    from edgepipe.pipelines.sentence_similarity import SentenceSimilarity
    from edgepipe.pipelines.summarization import Summarization
    from edgepipe.pipelines.task_options import (
        Grouping,
        LoadAnyTask,
        LoadFeatureExtraction,
        LoadFillMask,
        LoadQuestionAnswering,
        LoadSentenceSimilarity,
        LoadText2TextGeneration,
        LoadTextClassification,
        LoadTextGeneration,
        LoadTokenClassification,
        LoadTranslation,
        LoadZeroShotClassification,
    )
    from edgepipe.pipelines.task_results import (
        ChatGenerationResult,
        EntityGroup,
        GeneratedTokenIds,
        HiddenStates,
        QuestionAnsweringResult,
        SummarizationResult,
        SummaryTokenIds,
        TextClassificationResult,
        TextGenerationResult,
        TokenEntity,
        TranslationResult,
        TranslationTokenIds,
    )
    from edgepipe.pipelines.text2text_generation import Text2TextGeneration
    from edgepipe.pipelines.text_classification import TextClassification
    from edgepipe.pipelines.text_generation import TextGeneration
    from edgepipe.pipelines.token_classification import TokenClassification
    from edgepipe.pipelines.translation import Translation
    from edgepipe.pipelines.zero_shot_classification import ZeroShotClassification

    AnyBundle = str | os.PathLike[str] | Bundle


# A call with the name of a task has the types of that task. An option that decides what comes back has overloads of its
# own. ``translation_xx_to_yy`` and a name that is known only when the program runs are the ``str`` at the end.
if TYPE_CHECKING:  # overloads take time where they are defined, and only checkers read them

    @overload
    def pipeline(
        task: Literal["text-classification", "sentiment-analysis"],
        model: AnyBundle | None = None,
        *,
        top_k: int | None,
        **options: Unpack[LoadTextClassification],
    ) -> TextClassification[list[TextClassificationResult]]: ...
    @overload
    def pipeline(
        task: Literal["text-classification", "sentiment-analysis"],
        model: AnyBundle | None = None,
        **options: Unpack[LoadTextClassification],
    ) -> TextClassification[TextClassificationResult]: ...
    @overload
    def pipeline(
        task: None = None,
        model: None = None,
        *,
        top_k: int | None,
        **options: Unpack[LoadTextClassification],
    ) -> TextClassification[list[TextClassificationResult]]: ...
    @overload
    def pipeline(
        task: None = None,
        model: None = None,
        **options: Unpack[LoadTextClassification],
    ) -> TextClassification[TextClassificationResult]: ...
    @overload
    def pipeline(
        task: Literal["token-classification", "ner"],
        model: AnyBundle | None = None,
        *,
        aggregation_strategy: Grouping,
        **options: Unpack[LoadTokenClassification],
    ) -> TokenClassification[EntityGroup]: ...
    @overload
    def pipeline(
        task: Literal["token-classification", "ner"],
        model: AnyBundle | None = None,
        *,
        aggregation_strategy: Literal["none"] | None = ...,
        **options: Unpack[LoadTokenClassification],
    ) -> TokenClassification[TokenEntity]: ...
    @overload
    def pipeline(
        task: Literal["question-answering"],
        model: AnyBundle | None = None,
        *,
        top_k: int,
        **options: Unpack[LoadQuestionAnswering],
    ) -> QuestionAnswering[QuestionAnsweringResult | list[QuestionAnsweringResult]]: ...
    @overload
    def pipeline(
        task: Literal["question-answering"],
        model: AnyBundle | None = None,
        **options: Unpack[LoadQuestionAnswering],
    ) -> QuestionAnswering[QuestionAnsweringResult]: ...
    @overload
    def pipeline(
        task: Literal["fill-mask"],
        model: AnyBundle | None = None,
        **options: Unpack[LoadFillMask],
    ) -> FillMask: ...
    @overload
    def pipeline(
        task: Literal["zero-shot-classification"],
        model: AnyBundle | None = None,
        **options: Unpack[LoadZeroShotClassification],
    ) -> ZeroShotClassification: ...
    @overload
    def pipeline(
        task: Literal["feature-extraction"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[True],
        **options: Unpack[LoadFeatureExtraction],
    ) -> FeatureExtraction[Vectors]: ...
    @overload
    def pipeline(
        task: Literal["feature-extraction"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[False] = ...,
        **options: Unpack[LoadFeatureExtraction],
    ) -> FeatureExtraction[HiddenStates]: ...
    @overload
    def pipeline(
        task: Literal["sentence-similarity"],
        model: AnyBundle | None = None,
        **options: Unpack[LoadSentenceSimilarity],
    ) -> SentenceSimilarity: ...
    @overload
    def pipeline(
        task: Literal["text-generation"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[True],
        **options: Unpack[LoadTextGeneration],
    ) -> TextGeneration[GeneratedTokenIds, GeneratedTokenIds]: ...
    @overload
    def pipeline(
        task: Literal["text-generation"],
        model: AnyBundle | None = None,
        *,
        return_full_text: Literal[False],
        **options: Unpack[LoadTextGeneration],
    ) -> TextGeneration[TextGenerationResult, TextGenerationResult]: ...
    @overload
    def pipeline(
        task: Literal["text-generation"],
        model: AnyBundle | None = None,
        *,
        return_full_text: Literal[True] | None = ...,
        return_tensors: Literal[False] | None = ...,
        **options: Unpack[LoadTextGeneration],
    ) -> TextGeneration[TextGenerationResult, ChatGenerationResult]: ...
    @overload
    def pipeline(
        task: Literal["text2text-generation"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[True],
        **options: Unpack[LoadText2TextGeneration],
    ) -> Text2TextGeneration[GeneratedTokenIds, GeneratedTokenIds]: ...
    @overload
    def pipeline(
        task: Literal["text2text-generation"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[False] | None = ...,
        **options: Unpack[LoadText2TextGeneration],
    ) -> Text2TextGeneration[TextGenerationResult, GeneratedTokenIds]: ...
    @overload
    def pipeline(
        task: Literal["summarization"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[True],
        **options: Unpack[LoadText2TextGeneration],
    ) -> Summarization[SummaryTokenIds, SummaryTokenIds]: ...
    @overload
    def pipeline(
        task: Literal["summarization"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[False] | None = ...,
        **options: Unpack[LoadText2TextGeneration],
    ) -> Summarization[SummarizationResult, SummaryTokenIds]: ...
    @overload
    def pipeline(
        task: Literal["translation"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[True],
        **options: Unpack[LoadTranslation],
    ) -> Translation[TranslationTokenIds, TranslationTokenIds]: ...
    @overload
    def pipeline(
        task: Literal["translation"],
        model: AnyBundle | None = None,
        *,
        return_tensors: Literal[False] | None = ...,
        **options: Unpack[LoadTranslation],
    ) -> Translation[TranslationResult, TranslationTokenIds]: ...
    @overload
    def pipeline(task: str, model: AnyBundle | None = None, **options: Unpack[LoadTranslation]) -> Task: ...
    @overload
    def pipeline(task: None, model: AnyBundle, **options: Unpack[LoadAnyTask]) -> Task: ...
    @overload
    def pipeline(task: None = None, *, model: AnyBundle, **options: Unpack[LoadAnyTask]) -> Task: ...


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | Bundle | None = None,
    *,
    dtype: AnyDtype = None,
    device: AnyDevice = None,
    batch_size: int = 1,
    num_threads: int | None = None,
    workers: int = 1,
    revision: str | None = None,
    local_files_only: bool = False,
    low_memory: bool = False,
    providers: Sequence[Provider] | None = None,
    session_options: Any = None,
    buckets: Sequence[Shape] | None = None,
    verify: Verify = "first",
    **task_options: Any,
) -> Task:
    """Load a bundle for a task; the result is called as transformers' pipeline of that task is.

    ::

        classify = pipeline("text-classification", "path/to/bundle")
        classify("I love this")  # [{"label": "POSITIVE", "score": 0.99}]
        with pipeline("ner", "path/to/other") as ner:  # its memory is free after the block, or after ner.close()
            ner("Sarah lives in Rome")

    ``help(classify)`` tells what the task takes and gives.

    Args:
        task: Name of the task, e.g. ``"text-classification"``; by default the bundle's own.
        model: Directory or Hub id of the bundle, or a :class:`Bundle`; by default the embedded English sentiment
            model.
        dtype: The variant, e.g. ``"int8"``, or torch's name for its precision, as ``"float32"``; by default, and for
            ``"auto"``, the manifest's, or a faster one where that fails or has no kernels on this processor, which a
            warning says; on CUDA fp16 or else fp32.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, an index or a ``torch.device``. A device that is not there is an
            error.
        batch_size: How many inputs of a list or iterator go through the graph at once.
        num_threads: Threads inside one operator; by default what the process may use, divided by `workers`.
        workers: How many batches of a list, or calls from several threads, run side by side on a processor.
        revision: Branch, tag or commit, for a Hub id.
        local_files_only: Do not use the network; the Hub's cache must have the files.
        low_memory: Keep the weights mapped from their file: slower, far less private memory.
        providers: onnxruntime's own list of execution providers, in place of `device`.
        session_options: An ``onnxruntime.SessionOptions`` to start from; it is changed, so give each its own.
        buckets: Shapes (batch, length) that an encoder's inputs are padded to; by default some on a GPU, none
            elsewhere.
        verify: When the variant has to give for a handful of the bundle's probes what it gave where it was made:
            ``"first"``, when it meets a new processor, engine, provider or number of threads; ``"always"``, at every
            load; ``"never"``. One that fails is an error or, where `dtype` names none, replaced by one that passes.
        tokenizer: In place of the bundle's: an :class:`edgepipe.Tokenizer`, a directory, or a fast tokenizer of
            transformers. The bundle was compared with PyTorch with its own.
        **task_options: Options of the task that hold for every call. What transformers' ``pipeline`` takes beside
            these is taken too where it changes nothing here.

    Raises:
        TaskError: the task is unknown or does not fit the bundle.
        BundleError: the bundle is damaged or has no such variant, or this one does not give here what it gave where it
            was made.
        DeviceError: the device or a provider cannot be used here.
        InputError: an option is unknown or has a wrong value.
    """
    check_mode(verify)
    if task is not None:
        require_task(task)  # an unknown task is reported before anything is downloaded
    asked = take_pipeline_options(task_options, model, dtype, device)
    dtype = asked.dtype
    config = SessionConfig(asked.device, num_threads, low_memory, providers, session_options, buckets, workers=workers)
    if isinstance(model, Bundle):
        bundle = model
    else:
        path = embedded_bundle() if model is None else model
        bundle = open_bundle(
            path, dtype, config, revision=revision, local_files_only=local_files_only, token=asked.token
        )
    check_same_config(task_options.get("config"), bundle.config, model)
    given = None if asked.tokenizer is None else _read_tokenizer(asked.tokenizer, bundle)
    arguments = {"batch_size": batch_size, **asked.task_options}

    def load(opened: Bundle) -> Task:
        def load_variant(name: str | None) -> Task:
            return load_task(task, opened, name, config, given, **arguments)

        return load_checked(load_variant, opened, variant_name(dtype), config, NEVER if given else verify)

    return bundle.read(load)


def embedded_bundle() -> Path:
    """The directory of the sentiment model that comes with edgepipe.

    Raises:
        DependencyError: this installation lacks it.
    """
    try:
        from edgepipe_models import default_bundle

        return default_bundle()
    except (ImportError, FileNotFoundError) as error:
        raise DependencyError(
            f"the embedded default model is not installed ({error}); reinstall edgepipe, or name a bundle"
        ) from error


def _read_tokenizer(given: Any, bundle: Bundle) -> Tokenizer:
    """The tokenizer that the caller gave in place of a bundle's own."""
    from edgepipe.tokenization.given_tokenizer import read_given_tokenizer

    text = bundle.config.get("text_config")
    size = bundle.config.get("vocab_size") or (text.get("vocab_size") if isinstance(text, dict) else None)
    return read_given_tokenizer(given, size if isinstance(size, int) else None)
