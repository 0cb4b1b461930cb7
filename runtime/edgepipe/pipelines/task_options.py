"""What pipelines may be asked for, as types: the keyword arguments of each task.

Only type checkers and editors need this module; nothing imports it when a program runs. An option that decides what
comes back (``top_k``, ``aggregation_strategy``, ``return_tensors`` …) stands in the signatures that take it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from edgepipe.backend.session import Provider
from edgepipe.backend.shape_buckets import Shape
from edgepipe.generation.generate import TokenStreamer
from edgepipe.pipelines.pipeline_options import AnyDevice, AnyDtype, Verify

Grouping = Literal["simple", "first", "average", "max"]
Ids = int | Sequence[int]


class ReferenceLoadOptions(TypedDict, total=False):
    """What transformers' ``pipeline`` takes that changes nothing here; what would change something is left out."""

    config: Any
    use_fast: bool | None
    token: str | bool | None
    device_map: AnyDevice | Mapping[str, AnyDevice]
    torch_dtype: AnyDtype
    trust_remote_code: Literal[False] | None
    code_revision: str | None
    model_kwargs: Mapping[str, Any] | None
    framework: Literal["pt"] | None
    binary_output: Literal[False] | None
    num_workers: int | None


class LoadOptions(ReferenceLoadOptions, total=False):
    """How a bundle is loaded, whatever its task; see :func:`~edgepipe.factory.pipeline`."""

    dtype: AnyDtype
    device: AnyDevice
    batch_size: int
    num_threads: int | None
    workers: int
    verify: Verify
    revision: str | None
    local_files_only: bool
    low_memory: bool
    providers: Sequence[Provider] | None
    session_options: Any
    buckets: Sequence[Shape] | None
    tokenizer: Any


class EncodingOptions(TypedDict, total=False):
    """Those keyword arguments of the tokenizer whose names mean nothing else in any task."""

    pad_to_multiple_of: int | None
    padding_side: str | None
    return_token_type_ids: bool | None
    return_attention_mask: bool | None
    return_special_tokens_mask: bool
    return_offsets_mapping: bool
    return_length: bool


class TokenizerOptions(EncodingOptions, total=False):
    """Keyword arguments of the tokenizer; see :meth:`~edgepipe.tokenization.tokenizer.Tokenizer.__call__`."""

    add_special_tokens: bool
    padding: bool | str
    truncation: bool | str | None
    max_length: int | None
    stride: int


class TextClassificationOptions(TokenizerOptions, total=False):
    """text-classification, beside ``top_k``."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None
    return_all_scores: bool | None


class TokenClassificationOptions(TypedDict, total=False):
    """token-classification, beside ``aggregation_strategy``."""

    ignore_labels: Sequence[str] | frozenset[str] | set[str] | None
    stride: int | None
    is_split_into_words: bool
    delimiter: str | None


class QuestionAnsweringOptions(TypedDict, total=False):
    """question-answering, beside ``top_k``."""

    topk: int | None
    padding: bool | str | None
    doc_stride: int | None
    max_answer_len: int | None
    max_seq_len: int | None
    max_question_len: int | None
    handle_impossible_answer: bool | None
    align_to_words: bool | None


class FillMaskOptions(TypedDict, total=False):
    """fill-mask."""

    top_k: int | None
    targets: str | Sequence[str] | None
    tokenizer_kwargs: Mapping[str, Any] | None


class ZeroShotClassificationOptions(TypedDict, total=False):
    """zero-shot-classification, beside ``candidate_labels``."""

    hypothesis_template: str
    multi_label: bool


class FeatureExtractionOptions(TypedDict, total=False):
    """feature-extraction, beside ``return_tensors``."""

    truncation: bool | str | None
    tokenize_kwargs: Mapping[str, Any] | None


class SentenceSimilarityOptions(TypedDict, total=False):
    """sentence-similarity."""

    similarity: Literal["cosine", "dot"]


class GenerationOptions(TypedDict, total=False):
    """The search for tokens; see :class:`~edgepipe.generation.config.GenerationConfig`. None switches an option off."""

    max_length: int | None
    max_new_tokens: int | None
    min_length: int | None
    min_new_tokens: int | None
    max_time: float | None
    stop_strings: str | Sequence[str] | None
    do_sample: bool | None
    seed: int | None
    num_beams: int | None
    early_stopping: bool | Literal["never"] | None
    length_penalty: float | None
    num_beam_groups: int | None
    diversity_penalty: float | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    top_h: float | None
    typical_p: float | None
    epsilon_cutoff: float | None
    eta_cutoff: float | None
    repetition_penalty: float | None
    encoder_repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    encoder_no_repeat_ngram_size: int | None
    bad_words_ids: Sequence[Sequence[int]] | None
    sequence_bias: Mapping[tuple[int, ...], float] | Sequence[Sequence[Any]] | None
    exponential_decay_length_penalty: tuple[int, float] | None
    prefix_allowed_tokens_fn: Callable[[int, Any], Sequence[int]] | None
    guidance_scale: float | None
    negative_prompt_ids: Any
    watermarking_config: Any
    logits_processor: Sequence[Callable[..., Any]] | None
    stopping_criteria: Sequence[Callable[..., Any]] | None
    forced_bos_token_id: int | None
    forced_eos_token_id: Ids | None
    suppress_tokens: Ids | None
    begin_suppress_tokens: Ids | None
    remove_invalid_values: bool | None
    renormalize_logits: bool | None
    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: Ids | None
    decoder_start_token_id: Ids | None
    prompt_lookup_num_tokens: int | None
    max_matching_ngram_size: int | None
    num_assistant_tokens: int | None
    assistant_confidence_threshold: float | None
    kv_cache_memory_bytes: int | None


class ReferenceGenerateOptions(TypedDict, total=False):
    """What transformers' ``generate`` takes that changes no token; those that would change one are left out."""

    use_cache: bool | None
    logits_to_keep: int | None
    cache_implementation: str | None
    max_cache_len: int | None
    prefill_chunk_size: int | None
    compile_config: Any
    disable_compile: bool | None
    synced_gpus: bool | None
    return_dict_in_generate: bool | None
    tokenizer: Any


class WritingOptions(GenerationOptions, ReferenceGenerateOptions, total=False):
    """Options of all tasks that write."""

    generation_config: Any
    streamer: TokenStreamer | None
    return_type: Any


class TextGenerationOptions(WritingOptions, total=False):
    """text-generation, beside ``return_full_text`` and ``return_tensors``."""

    num_return_sequences: int | None
    json_schema: Mapping[str, Any] | bool | str | type[Any] | None
    regex: str | None
    choices: Sequence[str] | None
    return_text: bool | None
    skip_special_tokens: bool | None
    clean_up_tokenization_spaces: bool | None
    prefix: str | None
    handle_long_generation: Literal["hole"] | None
    stop_sequence: str | Sequence[str] | None
    continue_final_message: bool | str | None
    tools: Sequence[Any] | None
    documents: Sequence[Any] | None
    add_special_tokens: bool | None
    truncation: bool | str | None
    padding: bool | str | None
    tokenizer_encode_kwargs: Mapping[str, Any] | None
    prefix_cache_bytes: int | None
    assistant_model: Any


class Text2TextGenerationOptions(WritingOptions, total=False):
    """text2text-generation and summarization, beside ``return_tensors`` and ``num_return_sequences``."""

    return_text: bool | None
    clean_up_tokenization_spaces: bool | None
    truncation: bool | str | None
    stop_sequence: str | None


class TranslationOptions(Text2TextGenerationOptions, total=False):
    """translation, likewise."""

    src_lang: str | None
    tgt_lang: str | None


# The same options where a pipeline is made.


class LoadTextClassification(LoadOptions, TextClassificationOptions, total=False):
    """Options of ``pipeline("text-classification")``, beside ``top_k``."""


class LoadTokenClassification(LoadOptions, TokenClassificationOptions, total=False):
    """Options of ``pipeline("token-classification")``, beside ``aggregation_strategy``."""


class LoadQuestionAnswering(LoadOptions, QuestionAnsweringOptions, total=False):
    """Options of ``pipeline("question-answering")``, beside ``top_k``."""


class LoadFillMask(LoadOptions, FillMaskOptions, total=False):
    """Options of ``pipeline("fill-mask")``."""


class LoadZeroShotClassification(LoadOptions, ZeroShotClassificationOptions, total=False):
    """Options of ``pipeline("zero-shot-classification")``."""

    candidate_labels: str | Sequence[str] | None


class LoadFeatureExtraction(LoadOptions, FeatureExtractionOptions, total=False):
    """Options of ``pipeline("feature-extraction")``, beside ``return_tensors``."""


class LoadSentenceSimilarity(LoadOptions, SentenceSimilarityOptions, total=False):
    """Options of ``pipeline("sentence-similarity")``."""


class LoadTextGeneration(LoadOptions, TextGenerationOptions, total=False):
    """Options of ``pipeline("text-generation")``, beside ``return_full_text`` and ``return_tensors``."""


class LoadText2TextGeneration(LoadOptions, Text2TextGenerationOptions, total=False):
    """Options of ``pipeline("text2text-generation")``, beside ``return_tensors``."""

    num_return_sequences: int | None


class LoadTranslation(LoadOptions, TranslationOptions, total=False):
    """Options of ``pipeline("translation")``, beside ``return_tensors``."""

    num_return_sequences: int | None


class LoadAnyTask(
    LoadOptions,
    EncodingOptions,
    TextGenerationOptions,
    TokenClassificationOptions,
    QuestionAnsweringOptions,
    ZeroShotClassificationOptions,
    SentenceSimilarityOptions,
    total=False,
):
    """Options of ``pipeline(model=...)``: those of all tasks, as the bundle says which one it is for."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None
    return_all_scores: bool | None
    aggregation_strategy: Grouping | Literal["none"] | None
    targets: str | Sequence[str] | None
    tokenizer_kwargs: Mapping[str, Any] | None
    tokenize_kwargs: Mapping[str, Any] | None
    candidate_labels: str | Sequence[str] | None
    return_tensors: bool | None
    return_full_text: bool | None
    src_lang: str | None
    tgt_lang: str | None


# The same options where a pipeline is called.


class CallOptions(TypedDict, total=False):
    """Options of every call.

    Attributes:
        batch_size: How many inputs go through the graph at once; None for the pipeline's own.
        progress: Whether to count the results of a list or iterator on standard error.
        num_workers: Changes nothing; transformers takes it.
    """

    batch_size: int | None
    progress: bool
    num_workers: int | None


class CallTextClassification(CallOptions, TextClassificationOptions, total=False):
    """Options of a call of ``pipeline("text-classification")``, beside ``top_k``."""


class CallTokenClassification(CallOptions, TokenClassificationOptions, total=False):
    """Options of a call of ``pipeline("token-classification")``, beside ``aggregation_strategy``."""


class CallQuestionAnswering(CallOptions, QuestionAnsweringOptions, total=False):
    """Options of a call of ``pipeline("question-answering")``, beside ``top_k``."""


class CallFillMask(CallOptions, FillMaskOptions, total=False):
    """Options of a call of ``pipeline("fill-mask")``."""


class CallZeroShotClassification(CallOptions, ZeroShotClassificationOptions, total=False):
    """Options of a call of ``pipeline("zero-shot-classification")``, beside ``candidate_labels``."""


class CallFeatureExtraction(CallOptions, FeatureExtractionOptions, total=False):
    """Options of a call of ``pipeline("feature-extraction")``, beside ``return_tensors``."""


class CallSentenceSimilarity(CallOptions, SentenceSimilarityOptions, total=False):
    """Options of a call of ``pipeline("sentence-similarity")``."""


class CallTextGeneration(CallOptions, TextGenerationOptions, total=False):
    """Options of a call of ``pipeline("text-generation")``, beside ``return_full_text`` and ``return_tensors``."""


class CallWholeText(CallTextGeneration, total=False):
    """Those of a call whose results are whole texts, as they are by default."""

    return_full_text: Literal[True] | None
    return_tensors: Literal[False] | None


class CallText2TextGeneration(CallOptions, Text2TextGenerationOptions, total=False):
    """Options of a call of ``pipeline("text2text-generation")``, beside those that decide what comes back."""


class CallTranslation(CallOptions, TranslationOptions, total=False):
    """Options of a call of ``pipeline("translation")``, beside ``return_tensors`` and ``num_return_sequences``."""
