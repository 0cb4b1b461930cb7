"""Text-to-text generation: what an encoder-decoder writes for a text."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, Unpack, overload

from edgepipe.arguments import is_one_of
from edgepipe.errors import InputError
from edgepipe.generation.config_sources import checkpoint_options
from edgepipe.pipelines.base import Outputs, Request, Result
from edgepipe.pipelines.generative import GenerationSettings, GenerativeTask, check_streamer
from edgepipe.pipelines.options import check_text, get_flag, min_limit, return_type_name
from edgepipe.pipelines.text_columns import as_list
from edgepipe.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edgepipe.pipelines.task_options import CallText2TextGeneration, Text2TextGenerationOptions

# What a task gives for each text that it writes, with ``return_tensors=True``.
TokenIds = TypeVar("TokenIds")

# Where a checkpoint says this length it says nothing: it was the default of all.
_UNSAID_LENGTH = 20


class Text2TextGeneration(GenerativeTask, Generic[Result, TokenIds]):
    """Texts for texts, as transformers 4.57's ``Text2TextGenerationPipeline`` gives them.

    ::

        rewrite = pipeline("text2text-generation", "path/to/bundle")
        rewrite("translate English to German: Good morning")  # [{"generated_text": "Guten Morgen"}]

    The options of a call may be given to ``pipeline`` too; then they hold for every call. What
    ``task_specific_params`` of the checkpoint's config says for the task holds where the caller says nothing, a
    ``prefix`` before every text too. Where nobody says otherwise, 4 beams write up to 256 tokens.

    Attributes:
        result_name: What the keys of results begin with.
    """

    name = "text2text-generation"
    own_options: ClassVar[tuple[str, ...]] = (
        "return_tensors", "return_text", "return_type", "clean_up_tokenization_spaces", "truncation", "stop_sequence",
        "generation_config", "streamer",
    )  # fmt: skip
    result_name: ClassVar[str] = "generated"

    @overload
    def __call__(
        self,
        inputs: str,
        *,
        return_tensors: Literal[True],
        num_return_sequences: int | None = ...,
        **options: Unpack[CallText2TextGeneration],
    ) -> list[TokenIds]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: Literal[True],
        **options: Unpack[CallText2TextGeneration],
    ) -> list[TokenIds]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str],
        *,
        return_tensors: Literal[True],
        num_return_sequences: int | None = ...,
        **options: Unpack[CallText2TextGeneration],
    ) -> Iterator[list[TokenIds]]: ...
    @overload
    def __call__(
        self,
        inputs: str,
        *,
        return_tensors: Literal[False] | None = ...,
        num_return_sequences: int | None = ...,
        **options: Unpack[CallText2TextGeneration],
    ) -> list[Result]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: Literal[False] | None = ...,
        **options: Unpack[CallText2TextGeneration],
    ) -> list[Result]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: bool | None = ...,
        num_return_sequences: int,
        **options: Unpack[CallText2TextGeneration],
    ) -> list[Result] | list[list[Result]]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str],
        *,
        return_tensors: Literal[False] | None = ...,
        num_return_sequences: int | None = ...,
        **options: Unpack[CallText2TextGeneration],
    ) -> Iterator[list[Result]]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Write a text for a text.

        Args:
            inputs: A text, or a list or iterator of them.
            batch_size: How many texts go through the model at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: Those of the search for tokens (:class:`~edgepipe.generation.config.GenerationConfig`), e.g.
                ``max_new_tokens``, ``num_beams``, ``do_sample``, ``seed``; and these:
                ``return_tensors``: whether results are token ids instead of text.
                ``clean_up_tokenization_spaces``: whether blanks before punctuation go.
                ``truncation``: whether a text that is too long is cut, as it is by default.
                ``stop_sequence``: a text whose first token ends the result.
                ``generation_config``: a ``GenerationConfig`` of transformers, or a dict; in place of the task's own.
                ``streamer``: an object with ``put`` and ``end``, which gets the tokens as they come.

        Returns:
            For a text a list of dicts, one a returned sequence, with the text or, with ``return_tensors=True``, its
            token ids. For a list of texts a list of such dicts where each text has one, and of such lists otherwise.
            For an iterator an iterator of lists. The key begins with the task's word: ``generated_text``,
            ``summary_text``, ``translation_text``; ``…_token_ids``.

        Raises:
            InputError: a text or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        inputs = as_list(inputs)
        results = self._call(inputs, batch_size=batch_size, progress=progress, **options)
        if isinstance(inputs, (list, tuple)) and all(len(result) == 1 for result in results):
            return [result[0] for result in results]
        return results

    def stream(self, prompt: str, **options: Unpack[Text2TextGenerationOptions]) -> Generator[str, None, None]:
        """Write a text for a text, and give each piece of it as soon as it is whole.

        Args:
            prompt: One text.
            **options: As in a call. Tasks that use beams by default want ``num_beams=1``.

        Returns:
            An iterator of pieces of text; joined they are the text of the whole result. Whoever closes it, or stops
            reading, ends the search.

        Raises:
            InputError: the prompt or an option cannot be used; several beams, whose text is certain only at the end.
            ClosedError: the pipeline was closed.
        """
        return self._stream(prompt, options)

    def task_options(self) -> Mapping[str, Any]:
        """The task's defaults, which 4.57 puts before the checkpoint's own, and what the config says for the task."""
        defaults: dict[str, Any] = {"max_new_tokens": 256, "num_beams": 4}
        if checkpoint_options(self.decoder).get("max_length", _UNSAID_LENGTH) != _UNSAID_LENGTH:
            del defaults["max_new_tokens"]
        return defaults | dict(self._of_config())

    def _of_config(self) -> Mapping[str, Any]:
        found = self.params_of_config.get(self.params_name)
        return found if isinstance(found, Mapping) else {}

    @property
    def params_of_config(self) -> Mapping[str, Any]:
        """What the checkpoint's config says for tasks, by their names."""
        params = self.decoder.config.get("task_specific_params")
        return params if isinstance(params, Mapping) else {}

    @property
    def params_name(self) -> str:
        """The name under which the config may have something for this task."""
        return self.name

    def settings(self, options: Mapping[str, Any]) -> GenerationSettings:
        """Check the options; see :meth:`Task.settings`."""
        stop = options.get("stop_sequence")
        searched = dict(options) if stop is None else {**options, "eos_token_id": self._stop_token(stop)}
        get_flag(options, "return_text", None)
        return GenerationSettings(
            tokenizer=self._truncation(options.get("truncation")),
            generation=self.generation_config(searched),
            tensors=self._returns_tensors(options),
            streamer=check_streamer(options.get("streamer")),
            assistant=None,
            clean_up=get_flag(options, "clean_up_tokenization_spaces", False),
            skip_special_tokens=True,
        )

    def _returns_tensors(self, options: Mapping[str, Any]) -> bool:
        """Whether token ids are wanted: ``return_type`` goes before ``return_tensors``, as in the reference."""
        tensors = get_flag(options, "return_tensors", False)
        name = return_type_name(options.get("return_type"), ("TENSORS", "TEXT"))
        return tensors if name is None else name == "TENSORS"

    def _stop_token(self, stop: Any) -> int:
        """The first token of a text that ends the result; the reference uses this token alone too."""
        if not isinstance(stop, str):
            raise InputError(f"stop_sequence must be a text, got {stop!r}")
        ids: list[int] = self.tokenizer(stop, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InputError(f"stop_sequence is {stop!r}, which has no token")
        return ids[0]

    def _truncation(self, wanted: Any) -> Mapping[str, Any]:
        """The tokenizer's arguments that keep texts within the encoder's limit, unless the caller refuses that."""
        limit = self.decoder.max_source_length
        if wanted is not None:
            limit = min_limit(limit, self.tokenizer.model_max_length)
        if limit is None or is_one_of(wanted, (False, "do_not_truncate")):
            return {"truncation": False}
        return {"truncation": True if wanted is None else wanted, "max_length": limit}

    def encode(self, item: Any, settings: Any) -> Request:
        """Token ids of one text."""
        return self.request(item, self.prefix, self.tokenizer, settings)

    def request(self, item: Any, prefix: str, tokenizer: Tokenizer, settings: GenerationSettings) -> Request:
        """Token ids of one text, with a prefix, by a tokenizer.

        Raises:
            InputError: it is no text, or has no token.
        """
        encoding = tokenizer(prefix + check_text(item), **settings.tokenizer)
        ids = encoding["input_ids"]
        if not ids:
            raise InputError("the text has no token; pass some text")
        piece = {"input_ids": ids, "attention_mask": encoding.get("attention_mask", [1] * len(ids))}
        return Request([piece], is_cut=encoding.is_cut)

    @property
    def prefix(self) -> str:
        """What is put before every text."""
        found = self._of_config().get("prefix")
        found = self.decoder.config.get("prefix") if found is None else found
        return found if isinstance(found, str) else ""

    def decode(self, request: Request, outputs: Sequence[Outputs], settings: GenerationSettings) -> Any:
        """The result of one text, from ``sequences`` int64[sequences, tokens]."""
        sequences = outputs[0]["sequences"].tolist()
        if settings.tensors:
            return [{f"{self.result_name}_token_ids": ids} for ids in sequences]
        texts = self.tokenizer.batch_decode(
            sequences, skip_special_tokens=True, clean_up_tokenization_spaces=settings.clean_up
        )
        return [{f"{self.result_name}_text": text} for text in texts]
